"""Which trees are stuck: only those whose values are all quiet at once."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from trio_afrender.config import Stuck
from trio_afrender.task.monitors.stuck import (
    ActivitySample,
    InactivityTimer,
    StuckAction,
    averaging_time,
    decide,
    stop_kind,
)
from trio_afrender.task.status_rules import StopKind

RULES = Stuck(warn_after=600, stop_after=1800, cpu=0.01)
TREE = frozenset({(100, 1.0), (101, 2.0)})


def inactive_after(
    change: Callable[[float], ActivitySample], seconds: int = 600, rules: Stuck = RULES
) -> float:
    """Feed a sample every five seconds; `change` returns the one of a time."""
    timer, inactive = InactivityTimer(rules, change(0)), 0.0
    for moment in range(5, seconds + 1, 5):
        inactive = timer.look(change(float(moment)))
    return inactive


def quiet(time: float) -> ActivitySample:
    return ActivitySample(
        time=time, printed=1000, cpu=55.5, moved=10**6, processes=TREE, gpu_memory=5
    )


@pytest.mark.parametrize(
    ("change", "inactive"),
    [
        (quiet, 600),
        # Each of these alone is activity.
        (lambda t: attrs.evolve(quiet(t), printed=int(t)), 0),
        (lambda t: attrs.evolve(quiet(t), cpu=t * 0.02), 0),
        (lambda t: attrs.evolve(quiet(t), moved=int(t * 2000)), 0),
        (lambda t: attrs.evolve(quiet(t), processes=frozenset({(int(t), 0.0)})), 0),
        (lambda t: attrs.evolve(quiet(t), gpu_percent=3.0), 0),
        (lambda t: attrs.evolve(quiet(t), gpu_memory=int(t)), 0),
        # What waiting programs do is not.
        (lambda t: attrs.evolve(quiet(t), cpu=t * 0.009), 600),
        (lambda t: attrs.evolve(quiet(t), moved=int(t * 800)), 600),
        (lambda t: attrs.evolve(quiet(t), cpu=t // 60 * 0.25), 600),  # wakes up each minute
        # Activity that ended: from the last change on; for work, from the end of its averaging time.
        (lambda t: attrs.evolve(quiet(t), printed=int(min(t, 200))), 400),
        (lambda t: attrs.evolve(quiet(t), cpu=min(t, 180)), 420),
    ],
)
def test_a_tree_is_inactive_when_all_values_are_quiet_at_once(
    change: Callable[[float], ActivitySample], inactive: float
) -> None:
    assert inactive_after(change) == inactive


def test_the_figures_are_those_of_the_inactive_time() -> None:
    timer = InactivityTimer(RULES, quiet(0))
    for moment in range(5, 601, 5):
        timer.look(attrs.evolve(quiet(moment), cpu=55.5 + moment * 0.001, moved=10**6 + moment))
    assert timer.figures() == (
        "no output, 0.60 s of CPU (0.1 % of a core), 600 bytes read and written,"
        " the same 2 processes, no GPU in use"
    )


@pytest.mark.parametrize(
    ("policy", "inactive", "warned", "action"),
    [
        ("off", 9999, False, StuckAction.NOTHING),
        ("warn", 599, False, StuckAction.NOTHING),
        ("warn", 600, False, StuckAction.WARN),
        ("warn", 605, True, StuckAction.NOTHING),
        ("warn", 9999, True, StuckAction.NOTHING),
        ("warn", 0, True, StuckAction.ACTIVE_AGAIN),
        ("stop", 600, False, StuckAction.WARN),
        ("stop", 1799, True, StuckAction.NOTHING),
        ("stop", 1800, True, StuckAction.STOP),
        ("stop", 1800, False, StuckAction.STOP),
        ("stop", 5, True, StuckAction.ACTIVE_AGAIN),
    ],
)
def test_the_policy_decides(
    policy: str, inactive: float, warned: bool, action: StuckAction
) -> None:
    assert decide(attrs.evolve(RULES, policy=policy), inactive, warned=warned) is action


@pytest.mark.parametrize(
    ("states", "kind"),
    [
        ("SS", StopKind.STUCK),
        ("", StopKind.STUCK),
        ("SDS", StopKind.STUCK_HOST),
        ("ST", StopKind.STUCK),
        ("TT", None),
        ("t", None),
    ],
)
def test_a_tree_that_waits_for_a_device_is_given_back_and_a_halted_one_left_alone(
    states: str, kind: StopKind | None
) -> None:
    assert stop_kind(states) is kind


@pytest.mark.parametrize(
    ("rules", "seconds"), [(RULES, 30), (Stuck(warn_after=20), 5), (Stuck(stop_after=8), 2)]
)
def test_short_time_limits_have_a_short_averaging_time(rules: Stuck, seconds: float) -> None:
    assert averaging_time(rules) == seconds
