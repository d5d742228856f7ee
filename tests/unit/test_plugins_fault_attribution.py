"""Whose plugin it was: the rules, and what is kept to build the others anew."""

from __future__ import annotations

from itertools import pairwise

import pytest

from trio_afrender.plugins.host.fault_attribution import (
    SUSPECT_AFTER_CRASHES,
    CallView,
    FaultRecord,
    attribute_crash,
    clear,
    find_cpu_hog,
    find_unresponsive,
    mark_guilty,
    restart_delay,
)
from trio_afrender.plugins.host.plugin_run import MAX_FEEDS, MAX_JOINED, Feed, FeedHistory
from trio_afrender.plugins.interfaces import ParserState
from trio_afrender.plugins.validation import merge_states

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("calls", "silent", "hung"),
    [
        ([], 0.0, None),
        ([CallView(1, 9.9, 9.0)], 0.0, None),
        ([CallView(1, 10.0, 9.0)], 0.0, 1),
        ([CallView(1, 10.0, 0.0)], 0.0, 1),
        # The lock is held: who burns is to blame, not who is late because of it.
        ([CallView(1, 12.0, 0.0), CallView(2, 2.5, 2.0)], 2.5, 2),
        ([CallView(1, 12.0, 0.0), CallView(2, 1.5, 1.4)], 1.5, None),
        # Nobody burns: a machine that has no time for us, or a host that was stopped.
        ([CallView(1, 12.0, 0.0), CallView(2, 12.0, 0.01)], 5.0, None),
        # It burns, but has had little time for it yet.
        ([CallView(1, 12.0, 0.0), CallView(2, 2.5, 0.9)], 2.5, None),
        # Two burn: then the lock is not held, the host will answer.
        ([CallView(1, 9.0, 1.0), CallView(2, 9.0, 1.1)], 2.5, None),
        # The host answers: who is late is to blame, the busiest first, then the eldest.
        ([CallView(1, 11.0, 0.1), CallView(2, 10.5, 5.0), CallView(3, 9.0, 9.0)], 0.0, 2),
        ([CallView(1, 10.5, 0.0), CallView(2, 11.0, 0.0)], 0.0, 2),
        # It cannot help it: the machine is busy. For a while.
        ([CallView(1, 29.0, 0.0, True), CallView(2, 9.0, 5.0)], 0.0, None),
        ([CallView(1, 30.0, 0.0, True), CallView(2, 9.0, 5.0)], 0.0, 1),
    ],
)
def test_who_hangs(calls: list[CallView], silent: float, hung: int | None) -> None:
    assert find_unresponsive(calls, silent=silent, limit=10.0) == hung


@pytest.mark.parametrize(
    ("used", "burner"),
    [
        ([], None),
        ([0.0, 0.0], None),
        ([0.009], None),
        ([0.01], 0),
        ([0.001, 0.05], 1),
        ([0.02, 0.05], None),  # two run: then neither keeps the other from running
    ],
)
def test_who_keeps_the_others_from_running(used: list[float], burner: int | None) -> None:
    calls = [CallView(run, 1.0, cpu) for run, cpu in enumerate(used)]
    assert find_cpu_hog(calls, 0.01) == burner


def test_one_death_convicts_nobody() -> None:
    only = FaultRecord()
    assert attribute_crash([only]) is None
    assert (only.strikes, only.alone) == (1, True)


def test_a_suspect_that_is_alone_at_the_next_death_is_guilty() -> None:
    one, two = FaultRecord(), FaultRecord()
    assert attribute_crash([one, two]) is None
    assert attribute_crash([one]) is one
    clear(two)
    assert not two.alone
    assert attribute_crash([two]) is None


def test_who_is_often_there_stays_alone() -> None:
    unlucky = FaultRecord()
    attribute_crash([unlucky, FaultRecord()])
    clear(unlucky)
    attribute_crash([unlucky, FaultRecord()])
    clear(unlucky)
    assert unlucky.alone
    assert attribute_crash([unlucky]) is unlucky


def test_whoever_was_there_when_a_convict_did_it_is_free_again() -> None:
    """Else it would share a ward with the next run of that code."""
    bad, good, like_it = FaultRecord("bad"), FaultRecord("good"), FaultRecord("bad")
    attribute_crash([bad, good, like_it])
    attribute_crash([good, bad])
    clear(good)
    assert (good.strikes, good.alone) == (2, True)
    assert attribute_crash([bad]) is bad
    mark_guilty("bad", [bad, good, like_it])
    assert (good.strikes, good.alone, good.co_running) == (0, False, [])
    assert (bad.strikes, bad.alone) == (2, True)
    assert (like_it.strikes, like_it.alone) == (1, True)


def test_what_a_convict_had_no_part_in_still_counts() -> None:
    one, two, bad = FaultRecord("one"), FaultRecord("two"), FaultRecord("bad")
    attribute_crash([one, two])
    attribute_crash([one, bad])
    mark_guilty("bad", [one, two, bad])
    assert (one.strikes, one.alone) == (1, True)
    clear(one)
    assert not one.alone
    assert (two.strikes, two.alone) == (1, True)


def test_a_known_offender_stays_one() -> None:
    known = FaultRecord("bad", strikes=SUSPECT_AFTER_CRASHES, alone=True)
    mark_guilty("worse", [known])
    assert (known.strikes, known.alone) == (SUSPECT_AFTER_CRASHES, True)


def test_a_death_without_calls_accuses_nobody() -> None:
    assert attribute_crash([]) is None


def test_restarts_are_free_at_first_then_ever_slower_then_free_again() -> None:
    assert [restart_delay([0.0] * ends, 1.0) for ends in range(9)] == [
        0, 0, 0, 0, 0.25, 0.5, 1, 2, 4,
    ]  # fmt: skip
    assert restart_delay([0.0] * 20, 1.0) == 5
    assert restart_delay([0.0] * 20, 61.0) == 0


def test_history_gives_back_what_was_fed() -> None:
    history = FeedHistory()
    feeds = [Feed(upto, resources=str(upto)) for upto in range(MAX_FEEDS)]
    for feed in feeds:
        history.add(feed)
    assert list(history) == feeds


def test_old_history_is_joined_but_ends_and_sizes_stay() -> None:
    history = FeedHistory()
    for number in range(50 * MAX_FEEDS):
        mode = "0:0" if number % 1000 == 999 else "RUN"
        history.add(Feed(number * MIB // 8, mode))
    kept = list(history)
    assert len(kept) < 50 * MAX_FEEDS // 8
    assert sum(feed.mode == "0:0" for feed in kept) == 50 * MAX_FEEDS // 1000
    assert kept[-1] == Feed((50 * MAX_FEEDS - 1) * MIB // 8)
    steps = [after.upto - before.upto for before, after in pairwise(kept)]
    assert min(steps) > 0
    assert max(steps) <= MAX_JOINED


def test_quiet_calls_do_not_pile_up() -> None:
    history = FeedHistory()
    for _ in range(50 * MAX_FEEDS):
        history.add(Feed(1000))
    assert len(list(history)) <= MAX_FEEDS


def test_states_of_two_calls_become_one() -> None:
    early = ParserState(frame=1, warning=True, progress_changed=True, files_onthefly=("a",))
    late = ParserState(frame=2, error=True, files_onthefly=("b",), consumed=9)
    both = merge_states(early, late)
    assert both == ParserState(
        frame=2, warning=True, error=True, progress_changed=True,
        files_onthefly=("a", "b"), consumed=9,
    )  # fmt: skip
    assert merge_states(None, late) is late
