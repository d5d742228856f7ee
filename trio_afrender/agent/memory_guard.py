"""Keep memory free on the host: when it runs short, stop one task in time and give it back.

A host that runs out of memory loses more than a task: the kernel kills the largest process that it
finds, whatever it belongs to, and nothing reports why.

The rule: when less than the floor (`MemoryGuard.floor`) is available, stop the task whose tree grew
most since there was enough memory; of several that grew alike, the youngest. Only one task is
stopped at a time: the next one is chosen when the tree before it is empty and memory is still
short. Memory counts as enough again when `MemoryGuard.room` is available; until then the host
starts no new task.

`MemoryPolicy` decides without I/O, `guard_memory` measures and acts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence

import attrs
import trio

from trio_afrender.config import MemoryGuard
from trio_afrender.hostinfo.memory import MemoryHeadroom, ReadHeadroom
from trio_afrender.hostinfo.process_usage import ProcessUsage
from trio_afrender.task.dependencies import ProcessUsageReader
from trio_afrender.task.run_state import RunState
from trio_afrender.task.status_rules import StopCause, StopKind
from trio_afrender.task.usage_totals import show_bytes

__all__ = (
    "Decision",
    "MemoryPolicy",
    "Tree",
    "guard_memory",
    "time_to_next_check",
)

logger: logging.Logger = logging.getLogger(__name__)

FLOOR_FRACTION = 8
"""The floor is at most the host's memory divided by this; `room` is at most twice as much."""
MAX_FILL_RATE = 2 * 1024**3
"""Bytes a second that the tasks of a host are assumed to allocate at most."""
MIN_CHECK_INTERVAL, MAX_CHECK_INTERVAL = 0.25, 5.0
"""Seconds between two checks."""
SAMPLE_TIMEOUT = 60.0
"""Seconds that one check may take: it reads the figures of many trees, on a host that swaps."""
IDLE_INTERVAL = 5.0
"""Seconds between two checks while no task runs."""


# -- rules ---------------------------------------------------------------------------------------


@attrs.frozen(slots=True, kw_only=True)
class Tree:
    """The process tree of a running task."""

    run: str
    age: float
    """Seconds since the task was started."""
    resident: int
    """Bytes of memory of all its processes."""
    ending: bool = False
    """Whether it is being stopped, for any reason, so that its memory will be free soon."""


@attrs.frozen(slots=True, kw_only=True)
class Decision:
    """The actions after one check."""

    pause: str = ""
    """Why no new task is started; empty if tasks are started."""
    victim: str = ""
    """The run to stop; empty for none."""
    reason: str = ""
    """Why that run is stopped."""
    stop_now: bool = False
    """Whether runs that are being stopped lose the rest of their grace."""


class MemoryPolicy:
    """Decides after each check. Stores the tree sizes of the last check with enough memory."""

    def __init__(self, rules: MemoryGuard) -> None:
        self._rules = rules
        self._before: dict[str, int] = {}
        self._short = False
        """Whether memory fell below the floor and is not enough again."""

    def decide(self, headroom: MemoryHeadroom, trees: Sequence[Tree]) -> Decision:
        """Decide for the present headroom and the running trees."""
        floor = min(self._rules.floor, headroom.total // FLOOR_FRACTION)
        enough = max(min(self._rules.room, 2 * headroom.total // FLOOR_FRACTION), floor)
        if headroom.available >= enough:
            self._before = {tree.run: tree.resident for tree in trees}
            self._short = False
            return Decision()
        have = f"the host has {show_bytes(headroom.available)} of memory available"
        if headroom.available >= floor:
            return Decision(pause=self._pause(have, enough))
        self._short = True
        pause = self._pause(have, enough)
        # A tree that ends frees its memory soon, so no second one is stopped. But a grace of 10 s
        # may be too long: below half the floor it is cut.
        if any(tree.ending for tree in trees):
            return Decision(pause=pause, stop_now=headroom.available < floor // 2)
        if not trees:
            return Decision(pause=pause)
        # Growth and not size: a task that needed much memory all along worked before the shortage.
        victim = max(
            trees, key=lambda tree: (tree.resident - self._before.get(tree.run, 0), -tree.age)
        )
        before = self._before.get(victim.run, 0)
        which = (
            f"of {len(trees)} running tasks this one grew most" if trees[1:] else "this task grew"
        )
        reason = (
            f"{have}, memory_guard.floor is {show_bytes(floor)}; {which} since there was enough memory:"
            f" from {show_bytes(before)} to {show_bytes(victim.resident)}"
        )
        return Decision(pause=pause, victim=victim.run, reason=reason)

    def _pause(self, have: str, enough: int) -> str:
        return f"{have}: no new tasks until it is {show_bytes(enough)}" if self._short else ""


def time_to_next_check(rules: MemoryGuard, headroom: MemoryHeadroom) -> float:
    """Return the seconds until the next check, short enough that the floor is not passed before."""
    seconds = (headroom.available - rules.room) / MAX_FILL_RATE
    return min(max(seconds, MIN_CHECK_INTERVAL), MAX_CHECK_INTERVAL)


# -- the loop ------------------------------------------------------------------------------------


async def guard_memory(
    rules: MemoryGuard,
    read_headroom: ReadHeadroom,
    usage_reader: ProcessUsageReader,
    running: Callable[[], Collection[RunState]],
    pause: Callable[[str], None],
    expect_within: Callable[[float], None],
) -> None:
    """Guard the host's memory until cancelled; return at once if the floor is 0.

    `pause` is called with the reason when no new task is to be started, with "" when tasks may be
    started again; `expect_within` with the seconds until the next check at the latest.
    """
    if not rules.floor:
        return
    policy, started = MemoryPolicy(rules), dict[str, float]()
    paused = ""
    while True:
        expect_within(SAMPLE_TIMEOUT)
        headroom, runs = read_headroom(), tuple(running())
        now = trio.current_time()
        started = {run.task.run: started.get(run.task.run, now) for run in runs}
        # Measuring a tree costs a read for each of its processes. With plenty of memory the figures
        # of the usage monitor, some seconds old, are good enough.
        near = headroom.available < 2 * rules.room
        trees = []
        for run in runs:
            found: Sequence[ProcessUsage] = ()
            if near:
                # Its processes are those of the last measurement: finding new ones takes a walk over
                # all processes of the host.
                pids = {pid for pid, _ in run.members}
                pids |= {run.pid} if run.pid is not None else set()
                found = await usage_reader.read(pids)
            if found:
                resident = sum(usage.resident for usage in found)
            else:
                resident = run.usage.resident if run.usage is not None else 0
            ending = run.control.cause is not None
            age = now - started[run.task.run]
            trees.append(Tree(run=run.task.run, age=age, resident=resident, ending=ending))
        if near:
            # A host that swaps takes long to measure them, and a task may have ended meanwhile.
            headroom = read_headroom()
        decision = policy.decide(headroom, trees)
        if bool(decision.pause) != bool(paused):
            pause(decision.pause)
        paused = decision.pause
        for run in runs:
            if run.task.run == decision.victim:
                logger.warning("task %s: %s: it is given back", run.task.key, decision.reason)
                run.control.stop(StopCause(kind=StopKind.MEMORY, text=decision.reason))
            elif decision.stop_now and run.control.cause is not None:
                run.control.stop(run.control.cause, grace=0.0)
        wait = time_to_next_check(rules, headroom) if runs or paused else IDLE_INTERVAL
        # A long wait ends at a multiple of the interval, at which the agent wakes up anyway for its
        # measurements.
        await trio.sleep(IDLE_INTERVAL - now % IDLE_INTERVAL if wait >= IDLE_INTERVAL else wait)
