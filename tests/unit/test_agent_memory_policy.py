"""Whom short memory costs, and when the host is open again."""

from __future__ import annotations

import attrs
import pytest

from trio_afrender.agent.memory_guard import (
    MAX_CHECK_INTERVAL,
    MIN_CHECK_INTERVAL,
    Decision,
    MemoryPolicy,
    Tree,
    time_to_next_check,
)
from trio_afrender.config import MemoryGuard
from trio_afrender.hostinfo.memory import MemoryHeadroom

MIB = 1024**2
RULES = MemoryGuard(floor=256 * MIB, room=512 * MIB)


def room(available: int, total: int = 64 * 1024) -> MemoryHeadroom:
    return MemoryHeadroom(available=available * MIB, total=total * MIB)


def tree(run: str, resident: int, *, age: float = 100.0, ending: bool = False) -> Tree:
    return Tree(run=run, age=age, resident=resident * MIB, ending=ending)


def test_with_room_nothing_is_done() -> None:
    assert MemoryPolicy(RULES).decide(room(512), [tree("a", 9000)]) == Decision()


def test_the_one_that_grew_most_since_there_was_room_goes() -> None:
    policy = MemoryPolicy(RULES)
    policy.decide(room(600), [tree("big", 9000), tree("grows", 100)])
    assert policy.decide(room(400), [tree("big", 9005), tree("grows", 200)]) == Decision()
    decision = policy.decide(room(255), [tree("big", 9010), tree("grows", 245)])
    assert decision.victim == "grows"
    assert decision.reason == (
        "the host has 255 MiB of memory available, memory_guard.floor is 256 MiB; of 2 running tasks"
        " this one grew most since there was enough memory: from 100 MiB to 245 MiB"
    )
    assert decision.pause == (
        "the host has 255 MiB of memory available: no new tasks until it is 512 MiB"
    )
    assert not decision.stop_now


@pytest.mark.parametrize(
    ("trees", "victim"),
    [
        ([tree("old", 50, age=90), tree("young", 50, age=10)], "young"),
        ([tree("old", 51, age=90), tree("young", 50, age=10)], "old"),
        ([tree("new", 60, age=1), tree("a", 50)], "new"),  # it was not there: all of it is growth
        ([], ""),
    ],
)
def test_of_equals_the_youngest_goes(trees: list[Tree], victim: str) -> None:
    policy = MemoryPolicy(RULES)
    policy.decide(room(600), [tree("a", 0)])
    assert policy.decide(room(100), trees).victim == victim


def test_a_host_that_falls_between_two_looks_still_knows_who_grew() -> None:
    policy = MemoryPolicy(RULES)
    assert policy.decide(room(1), [tree("a", 9), tree("b", 900)]).victim == "b"  # the first look
    policy.decide(room(9000), [tree("a", 900), tree("b", 90)])
    assert policy.decide(room(1), [tree("a", 910), tree("b", 400)]).victim == "b"


def test_one_at_a_time_and_in_a_stop_now_when_half_the_floor_is_gone() -> None:
    policy = MemoryPolicy(RULES)
    trees = [tree("a", 900, ending=True), tree("b", 100)]
    for available, stop_now in ((200, False), (128, False), (127, True)):
        decision = policy.decide(room(available), trees)
        assert (decision.victim, decision.stop_now) == ("", stop_now)
    assert policy.decide(room(127), trees[1:]).victim == "b", "it did not help"


def test_a_host_once_closed_opens_when_there_is_room_not_before() -> None:
    policy = MemoryPolicy(RULES)
    assert not policy.decide(room(300), []).pause
    assert policy.decide(room(200), []).pause
    assert policy.decide(room(300), []).pause
    assert policy.decide(room(511), []).pause
    assert not policy.decide(room(512), []).pause
    assert not policy.decide(room(300), []).pause


def test_what_grew_is_counted_anew_after_each_scare() -> None:
    policy = MemoryPolicy(RULES)
    policy.decide(room(600), [tree("a", 100), tree("b", 100)])
    policy.decide(room(400), [tree("a", 500), tree("b", 100)])
    policy.decide(room(600), [tree("a", 500), tree("b", 100)])
    assert policy.decide(room(200), [tree("a", 510), tree("b", 300)]).victim == "b"


def test_on_a_small_host_the_floor_is_an_eighth_of_it() -> None:
    policy = MemoryPolicy(RULES)
    assert policy.decide(room(100, total=400), [tree("a", 300)]) == Decision()
    assert policy.decide(room(51, total=400), [tree("a", 300)]).victim == ""
    assert policy.decide(room(49, total=400), [tree("a", 300)]).victim == "a"


@pytest.mark.parametrize(
    ("available", "seconds"),
    [
        (64 * 1024, MAX_CHECK_INTERVAL),
        (512 + 2048, 1.0),
        (512, MIN_CHECK_INTERVAL),
        (0, MIN_CHECK_INTERVAL),
    ],
)
def test_looks_come_closer_as_the_floor_does(available: int, seconds: float) -> None:
    assert time_to_next_check(RULES, room(available)) == seconds


def test_the_room_is_never_below_the_floor() -> None:
    policy = MemoryPolicy(attrs.evolve(RULES, room=0))
    assert policy.decide(room(200), []).pause.endswith("until it is 256 MiB")
    assert not policy.decide(room(256), []).pause
