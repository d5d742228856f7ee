"""Whether a task still does anything: from looks at its output, processor time, input and output,
processes and cards together. Pure.

One quiet figure means nothing: a renderer may print nothing for hours, a download uses no
processor, a simulation reads no file. Only a tree in which all of them are quiet at once is stuck,
or waits for somebody: a licence, a dialog, a mount that hangs. Seconds and bytes.
"""

from __future__ import annotations

import enum

import attrs

from trio_afrender.config import Stuck
from trio_afrender.task.status_rules import StopKind

__all__ = ("ActivitySample", "InactivityTimer", "StuckAction", "decide", "stop_kind", "window")

MAX_AVERAGING = 30.0
"""Over so long processor time and bytes are averaged: a wake-up now and then is no work."""
IDLE_BYTE_RATE = 1024.0
"""A second: a program that only polls something moves less."""


@attrs.frozen(slots=True, kw_only=True)
class ActivitySample:
    """One look at a tree. All figures but the cards' are totals since its start."""

    time: float
    printed: int = 0
    cpu: float = 0.0
    moved: int = 0
    """Bytes through files, devices and pipes."""
    processes: frozenset[tuple[int, float]] = frozenset()
    """Pid and start of each."""
    gpu_percent: float = 0.0
    gpu_memory: int = 0


class StuckAction(enum.Enum):
    """What is to be done about a silence."""

    NOTHING = "nothing"
    WARN = "warn"
    STOP = "stop"
    RELIEF = "relief"
    """It moves again after people were told."""


class InactivityTimer:
    """Since when a tree has shown no sign of life."""

    def __init__(self, rules: Stuck, first: ActivitySample) -> None:
        self._rules = rules
        self._window = window(rules)
        self._since = self._base = self._last = first

    def look(self, now: ActivitySample) -> float:
        """Take another look; return for how many seconds there was no sign of life."""
        if self._stirred(now):
            self._since = self._base = now
        elif now.time - self._base.time >= self._window:
            if self._worked(now):
                self._since = now
            self._base = now
        self._last = now
        return now.time - self._since.time

    def figures(self) -> str:
        """What little it did, for people."""
        old, new = self._since, self._last
        seconds = max(new.time - old.time, 1e-9)
        many = len(new.processes)
        processes = "the same process" if many == 1 else f"the same {many} processes"
        return (
            f"no output, {new.cpu - old.cpu:.2f} s of CPU"
            f" ({(new.cpu - old.cpu) * 100 / seconds:.2g} % of a core),"
            f" {new.moved - old.moved} bytes read and written, {processes}, no card at work"
        )

    def _stirred(self, now: ActivitySample) -> bool:
        """Something that no waiting program does."""
        old = self._last
        return (
            now.printed != old.printed
            or now.processes != old.processes
            or now.gpu_percent > 0
            or now.gpu_memory != old.gpu_memory
        )

    def _worked(self, now: ActivitySample) -> bool:
        seconds = now.time - self._base.time
        busy = now.cpu - self._base.cpu > self._rules.cpu * seconds
        return busy or now.moved - self._base.moved > IDLE_BYTE_RATE * seconds


def window(rules: Stuck) -> float:
    """Over how many seconds is averaged: a part of the shortest silence that matters."""
    return min(MAX_AVERAGING, rules.warn_after / 4, rules.stop_after / 4)


def decide(rules: Stuck, silent: float, *, warned: bool) -> StuckAction:
    """What to do about `silent` seconds without a sign of life."""
    if rules.policy == "stop" and silent >= rules.stop_after:
        return StuckAction.STOP
    if rules.policy != "off" and silent >= rules.warn_after:
        return StuckAction.NOTHING if warned else StuckAction.WARN
    return StuckAction.RELIEF if warned else StuckAction.NOTHING


def stop_kind(states: str) -> StopKind | None:
    """As what a stuck tree is stopped, by the kernel's letters for its living processes.

    One that waits for a disk, a mount or a driver (D) is this host's fault: given back, for another
    host to try. Any other is an error of the task. One that somebody has halted (all T) is left
    alone: None.
    """
    if states and not states.strip("Tt"):
        return None
    return StopKind.STUCK_HOST if "D" in states else StopKind.STUCK
