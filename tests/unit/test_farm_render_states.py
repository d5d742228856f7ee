"""The table of a render's states: every state with every event, and its page in docs."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.states_page import BEGIN, END, FIELDS, PAGE, make_part

from trio_afrender.farm.render_states import (
    TRANSITIONS,
    Health,
    HostNimby,
    LimitsOrigin,
    NimbyMode,
    PauseMode,
    Presence,
    RenderBit,
    RenderEvent,
    RenderStates,
    advance,
    host_event,
)

ALL_STATES = tuple(
    itertools.starmap(
        lambda *parts: RenderStates(**dict(zip(FIELDS, parts, strict=True))),
        itertools.product(*FIELDS.values()),
    )
)


def assert_legal(states: RenderStates) -> None:
    """What no render may be at once, whatever happens to it."""
    bits = states.bits
    online = RenderBit.ONL in bits
    assert not (RenderBit.NbY in bits and RenderBit.NBY in bits)
    assert online or RenderBit.RUN not in bits
    assert online or RenderBit.WFL not in bits
    assert not (online and RenderBit.WSL in bits)
    assert RenderBit.WSL in bits or RenderBit.WWK not in bits
    assert not (RenderBit.RUN in bits and RenderBit.WFL in bits)
    assert online == states.presence.online


def test_every_state_with_every_event() -> None:
    assert len(ALL_STATES) == 6 * 3 * 3 * 2 * 2 * 2
    for states in ALL_STATES:
        assert_legal(states)
        for event in RenderEvent:
            after = advance(states, event)
            assert_legal(after)
            for old, new in zip(states.parts, after.parts, strict=True):
                assert type(new) is type(old)
                assert new is TRANSITIONS.get((old, event), old)
            assert advance(after, event) == after, "an event that happens twice counts once"


def test_each_event_changes_something_and_each_state_can_be_reached() -> None:
    assert {event for _, event in TRANSITIONS} == set(RenderEvent)
    reached = {RenderStates()}
    fresh = reached
    while fresh:
        fresh = {advance(states, event) for states in fresh for event in RenderEvent} - reached
        reached |= fresh
    assert reached == set(ALL_STATES)


@given(st.lists(st.sampled_from(RenderEvent)))
def test_any_sequence_leaves_a_legal_combination(events: list[RenderEvent]) -> None:
    states = RenderStates()
    for event in events:
        states = advance(states, event)
        assert_legal(states)
    if events and events[-1] is RenderEvent.LEAVE:
        assert not states.presence.online
    if events and events[-1] is RenderEvent.REGISTER:
        assert states.presence in (Presence.ONLINE, Presence.RUNNING)
    if RenderEvent.FREE in events and events[-1] is RenderEvent.FREE:
        assert not states.bits & (RenderBit.NbY | RenderBit.NBY)


@pytest.mark.parametrize(
    ("states", "bits", "words"),
    [
        (RenderStates(), 0, " OFF"),
        (RenderStates(presence=Presence.ONLINE), 1, " ONL"),
        (RenderStates(presence=Presence.ONLINE, nimby=NimbyMode.OWN), 3, " ONL NbY"),
        (RenderStates(presence=Presence.RUNNING), 9, " ONL RUN"),
        (RenderStates(presence=Presence.ONLINE, limits=LimitsOrigin.OWN), 17, " ONL DRT"),
        (RenderStates(presence=Presence.FALLING), 33, " ONL WFL"),
        (RenderStates(presence=Presence.ASLEEP), 64, " OFF WSL"),
        (RenderStates(presence=Presence.WAKING), 192, " OFF WSL WWK"),
        (RenderStates(presence=Presence.ONLINE, health=Health.SICK), 513, " ONL SIC"),
        (RenderStates(pause=PauseMode.PAUSED), 256, " OFF PAU"),
        (RenderStates(nimby=NimbyMode.OWN, host=HostNimby.ALL), 4, " OFF NBY"),
    ],
)
def test_the_bits_and_words_of_an_afserver(states: RenderStates, bits: int, words: str) -> None:
    assert (states.bits, states.words) == (bits, words)


@pytest.mark.parametrize(
    ("bits", "event"),
    [
        (1, RenderEvent.HOST_FREE),
        (3, RenderEvent.HOST_NIMBY),
        (5, RenderEvent.HOST_NIMBY_ALL),
        (7, RenderEvent.HOST_NIMBY_ALL),
        # Other bits, as sick, asleep and paused, are not for the render to set.
        (1 | 64 | 256 | 512, RenderEvent.HOST_FREE),
    ],
)
def test_what_a_render_may_say_of_itself(bits: int, event: RenderEvent) -> None:
    assert host_event(bits) is event


def test_what_a_restart_of_the_farm_keeps() -> None:
    for states in ALL_STATES:
        again = RenderStates.restore(states.kept)
        assert again.presence is (
            Presence.ASLEEP
            if states.presence in (Presence.FALLING, Presence.ASLEEP, Presence.WAKING)
            else Presence.OFFLINE
        )
        assert again.host is HostNimby.FREE
        for field in ("nimby", "pause", "health", "limits"):
            assert getattr(again, field) is getattr(states, field)


def test_the_page_follows_the_table() -> None:
    text = PAGE.read_text(encoding="utf-8")
    found = text.partition(BEGIN)[2].partition(END)[0].strip()
    assert found == make_part(), "run tests/support/states_page.py"
