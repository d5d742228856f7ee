"""Rules of the memory guard: which task is stopped, and when tasks are started again."""

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


def headroom(available: int, total: int = 64 * 1024) -> MemoryHeadroom:
    return MemoryHeadroom(available=available * MIB, total=total * MIB)


def tree(run: str, resident: int, *, age: float = 100.0, ending: bool = False) -> Tree:
    return Tree(run=run, age=age, resident=resident * MIB, ending=ending)


def test_with_enough_memory_nothing_is_done() -> None:
    assert MemoryPolicy(RULES).decide(headroom(512), [tree("a", 9000)]) == Decision()


def test_the_task_that_grew_most_is_stopped() -> None:
    policy = MemoryPolicy(RULES)
    policy.decide(headroom(600), [tree("big", 9000), tree("grows", 100)])
    assert policy.decide(headroom(400), [tree("big", 9005), tree("grows", 200)]) == Decision()
    decision = policy.decide(headroom(255), [tree("big", 9010), tree("grows", 245)])
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
        ([tree("new", 60, age=1), tree("a", 50)], "new"),  # All its memory is growth.
        ([], ""),
    ],
)
def test_of_tasks_that_grew_alike_the_youngest_is_stopped(trees: list[Tree], victim: str) -> None:
    policy = MemoryPolicy(RULES)
    policy.decide(headroom(600), [tree("a", 0)])
    assert policy.decide(headroom(100), trees).victim == victim


def test_a_shortage_between_two_checks_is_compared_with_the_last_check() -> None:
    policy = MemoryPolicy(RULES)
    assert (
        policy.decide(headroom(1), [tree("a", 9), tree("b", 900)]).victim == "b"
    )  # The first check.
    policy.decide(headroom(9000), [tree("a", 900), tree("b", 90)])
    assert policy.decide(headroom(1), [tree("a", 910), tree("b", 400)]).victim == "b"


def test_one_task_is_stopped_at_a_time_and_its_grace_is_cut_below_half_the_floor() -> None:
    policy = MemoryPolicy(RULES)
    trees = [tree("a", 900, ending=True), tree("b", 100)]
    for available, stop_now in ((200, False), (128, False), (127, True)):
        decision = policy.decide(headroom(available), trees)
        assert (decision.victim, decision.stop_now) == ("", stop_now)
    assert policy.decide(headroom(127), trees[1:]).victim == "b", "memory is still short"


def test_after_a_shortage_tasks_are_started_only_with_enough_memory() -> None:
    policy = MemoryPolicy(RULES)
    assert not policy.decide(headroom(300), []).pause
    assert policy.decide(headroom(200), []).pause
    assert policy.decide(headroom(300), []).pause
    assert policy.decide(headroom(511), []).pause
    assert not policy.decide(headroom(512), []).pause
    assert not policy.decide(headroom(300), []).pause


def test_growth_is_counted_from_the_last_check_with_enough_memory() -> None:
    policy = MemoryPolicy(RULES)
    policy.decide(headroom(600), [tree("a", 100), tree("b", 100)])
    policy.decide(headroom(400), [tree("a", 500), tree("b", 100)])
    policy.decide(headroom(600), [tree("a", 500), tree("b", 100)])
    assert policy.decide(headroom(200), [tree("a", 510), tree("b", 300)]).victim == "b"


def test_on_a_small_host_the_floor_is_an_eighth_of_it() -> None:
    policy = MemoryPolicy(RULES)
    assert policy.decide(headroom(100, total=400), [tree("a", 300)]) == Decision()
    assert policy.decide(headroom(51, total=400), [tree("a", 300)]).victim == ""
    assert policy.decide(headroom(49, total=400), [tree("a", 300)]).victim == "a"


@pytest.mark.parametrize(
    ("available", "seconds"),
    [
        (64 * 1024, MAX_CHECK_INTERVAL),
        (512 + 2048, 1.0),
        (512, MIN_CHECK_INTERVAL),
        (0, MIN_CHECK_INTERVAL),
    ],
)
def test_checks_are_more_frequent_near_the_floor(available: int, seconds: float) -> None:
    assert time_to_next_check(RULES, headroom(available)) == seconds


def test_enough_memory_is_never_less_than_the_floor() -> None:
    policy = MemoryPolicy(attrs.evolve(RULES, room=0))
    assert policy.decide(headroom(200), []).pause.endswith("until it is 256 MiB")
    assert not policy.decide(headroom(256), []).pause
