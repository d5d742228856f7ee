"""Who stands beside a process while it runs: suspension, limits, and whether it still does anything."""

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
    """What is the same for all processes of a run."""

    limits: Limits
    stuck: Stuck
    log: RunLog
    handle: TaskControl
    why: ReasonLog
    tools: TaskDependencies
    progressed: Callable[[], float] | None
    """When percent or frame moved last, in trio's time; None: nobody can tell."""
    warn: Callable[[str], Awaitable[None]]
    """Puts text into the task's log at once."""
    remark: Callable[[str], Awaitable[None]]
    """Tells the server in a few words how the run stands; '' takes it back."""

    def begin(self, companions: trio.Nursery, child: ProcessTree, *, own: bool) -> None:
        """Stand by `child` until `companions` is cancelled; post commands (not `own`) have a limit
        of their own kind."""
        suspension = self.handle.suspension
        companions.start_soon(obey_suspension, suspension, child, self.why, self.warn)
        if own and self.limits != Limits():
            companions.start_soon(self._limit)
        if own and self.stuck.policy != "off":
            companions.start_soon(self._watch, child)

    async def _limit(self) -> None:
        await watch_limits(self.limits, self.log, self.handle, self.why, progressed=self.progressed)

    async def _watch(self, child: ProcessTree) -> None:
        watch = partial(watch_stuck, self.stuck, child, self.log, self.handle, self.why)
        await watch(
            examine=self.tools.examine,
            gpus_unclaimed=self.tools.gpus_unclaimed,
            say=self.warn,
            remark=self.remark,
        )
