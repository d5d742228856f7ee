"""What runs beside a process: suspension, limits, detection of stuck trees, usage, memory shortage.

Each monitor is an async function or method that runs until it is cancelled at the end of the process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import attrs
import trio

from trio_afrender.config import Limits, Stuck
from trio_afrender.process.interfaces import ProcessTree
from trio_afrender.task.monitors.limits import watch_limits
from trio_afrender.task.monitors.stuck import watch_stuck
from trio_afrender.task.reasons import ReasonLog
from trio_afrender.task.suspend import obey_suspension
from trio_afrender.task.task_control import TaskControl
from trio_afrender.task.tools import TaskDependencies
from trio_afrender.tasklog.interfaces import RunLog

__all__ = ("ProcessMonitors",)


@attrs.frozen(kw_only=True, eq=False)
class ProcessMonitors:
    """The monitors of one run, for each of its processes in turn."""

    limits: Limits
    stuck: Stuck
    log: RunLog
    control: TaskControl
    why: ReasonLog
    dependencies: TaskDependencies
    progressed: Callable[[], float] | None
    """Returns when percent or frame last changed, in trio's time; None: the run has no parser."""
    send_log: Callable[[str], Awaitable[None]]
    """Adds text to the task's log at once."""
    set_notice: Callable[[str], Awaitable[None]]
    """Shows a short text in place of the activity, as a warning; '' ends that."""

    def begin(self, companions: trio.Nursery, tree: ProcessTree, *, own: bool) -> None:
        """Start the monitors of `tree` in `companions`; they run until that is cancelled.

        `own`: the task's own process, not a post command.
        """
        # A suspension is for the run, so it holds for post commands too. Limits and stuck detection
        # are for the task's own process: each post command has a time limit, and all of them together
        # have ``post_time``.
        companions.start_soon(
            obey_suspension, self.control.suspension, tree, self.why, self.send_log
        )
        if own and self.limits != Limits():
            companions.start_soon(
                partial(
                    watch_limits,
                    self.limits,
                    self.log,
                    self.control,
                    self.why,
                    progressed=self.progressed,
                )
            )
        if own and self.stuck.policy != "off":
            companions.start_soon(
                partial(
                    watch_stuck,
                    self.stuck,
                    tree,
                    self.log,
                    self.control,
                    self.why,
                    examine=self.dependencies.examine,
                    gpus_unclaimed=self.dependencies.gpus_unclaimed,
                    send_log=self.send_log,
                    set_notice=self.set_notice,
                )
            )
