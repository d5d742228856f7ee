"""What runs beside a process: suspension, usage, memory shortage, limits, detection of stuck trees.

Each is a `Monitor`. They act on the run through its state and its control: they note, send and stop.
"""

from __future__ import annotations

from functools import partial

import trio

from trio_afrender.config import Limits
from trio_afrender.plugins.interfaces import ServiceFacts
from trio_afrender.process.interfaces import ProcessTree
from trio_afrender.task.monitors.closed_windows import ClosedWindows
from trio_afrender.task.monitors.interfaces import Monitor
from trio_afrender.task.monitors.limits import LimitMonitor
from trio_afrender.task.monitors.memory_shortage import MemoryShortage
from trio_afrender.task.monitors.stuck import StuckMonitor
from trio_afrender.task.monitors.suspension import SuspensionMonitor
from trio_afrender.task.monitors.usage import UsageMonitor
from trio_afrender.task.run_state import RunState
from trio_afrender.tasklog.interfaces import RunLog
from trio_afrender.tasklog.io_threads import wait_out

__all__ = ("START_DELAY", "Monitor", "ProcessMonitors")


START_DELAY = 0.1
"""Seconds after the start of a process until its monitors are started: most tiny tasks have ended
then, and each monitor that is started and cancelled is a noticeable part of their cost."""
_NO_LIMITS = Limits()


class ProcessMonitors:
    """The monitors of one run, for each of its processes in turn."""

    def __init__(self, state: RunState, log: RunLog, facts: ServiceFacts) -> None:
        self.memory_shortage: MemoryShortage = MemoryShortage(state)
        self.usage: UsageMonitor = UsageMonitor(state, self.memory_shortage)
        self._state = state
        # A suspension is for the run, so it holds for post commands too.
        self._of_each: tuple[Monitor, ...] = (
            SuspensionMonitor(state),
            self.usage,
            ClosedWindows(state),
        )
        # Limits and stuck detection are for the task's own process: each post command has a time
        # limit, and all of them together have ``post_time``.
        self._of_own: tuple[Monitor, ...] = ()
        limits = state.config.limits_of(state.task.service, facts.limits)
        # A limit counts from the start, and may be shorter than the delay.
        self._delay = START_DELAY
        if limits != _NO_LIMITS:
            self._delay = 0.0
            self._of_own += (LimitMonitor(state, log, limits),)
        stuck = state.config.stuck_of(state.task.service, facts.stuck)
        if stuck.policy != "off":
            self._of_own += (StuckMonitor(state, log, stuck),)

    async def run(self, process: ProcessTree, scope: trio.CancelScope, *, own: bool) -> None:
        """Run the monitors of `process` until `scope` is cancelled; `own`: it is no post command."""
        suspension = self._state.control.suspension
        with scope:
            # A process that is to be suspended is suspended at once, as is one to be resumed that an
            # earlier agent has suspended.
            if self._delay and not suspension and process.started is None:
                with trio.move_on_after(self._delay):
                    await suspension.changed()
            async with trio.open_nursery() as nursery:
                for monitor in self._of_each + (self._of_own if own else ()):
                    nursery.start_soon(wait_out, "a monitor", partial(monitor.run, process))
