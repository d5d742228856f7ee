"""Suspend and resume a run.

The requested state belongs to the run. It is applied to each of the run's processes while that one
runs, so a post command that starts during a suspension is suspended too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import final

import trio

from trio_afrender.async_helpers import RepeatedEvent
from trio_afrender.process.interfaces import ProcessTree, TreeSignal
from trio_afrender.task.reasons import ReasonLog

__all__ = ("Suspension", "obey_suspension")


@final
class Suspension:
    """Whether a run is to be suspended, and for how long it has been. True while it is."""

    def __init__(self) -> None:
        self.reason = ""
        """Why the run is to be suspended; empty: it is to run."""
        self.ended = float("-inf")
        """When it was last resumed, in trio's time."""
        self._since = 0.0
        self._total = 0.0
        self._changed = RepeatedEvent()

    def __bool__(self) -> bool:
        return bool(self.reason)

    def change(self, reason: str) -> bool:
        """Request a suspension for that reason, or '' to resume; False if that changes nothing."""
        # The first reason stays: a second request to suspend asks for nothing new.
        if bool(reason) == bool(self.reason):
            return False
        now = trio.current_time()
        if reason:
            self._since = now
        else:
            self._total += now - self._since
            self.ended = now
        self.reason = reason
        self._changed.set()
        return True

    def seconds(self) -> float:
        """Return for how long the run has been suspended in all, the current suspension included."""
        return self._total + (trio.current_time() - self._since if self.reason else 0.0)

    async def changed(self) -> None:
        """Wait for the next change of the requested state."""
        await self._changed.wait()

    async def over(self) -> None:
        """Wait until the run is to run."""
        await trio.lowlevel.checkpoint()
        while self.reason:
            await self._changed.wait()


async def obey_suspension(
    suspension: Suspension,
    tree: ProcessTree,
    why: ReasonLog,
    send_log: Callable[[str], Awaitable[None]],
) -> None:
    """Suspend and resume `tree` as requested, until cancelled: when its process is over.

    `send_log` adds text to the task's log at once. A stop needs nothing from here: a suspended process
    could not react to TERM, so sending TERM to a tree resumes it.
    """
    if tree.suspended:
        # An earlier agent suspended it and nothing has resumed it since.
        suspension.change("by the agent before this one")
    applied = bool(suspension.reason) and tree.suspended
    while True:
        if bool(suspension) == applied:
            await suspension.changed()
            continue
        reason = suspension.reason
        pids = await tree.signal_tree(TreeSignal.SUSPEND if reason else TreeSignal.RESUME)
        text = f"suspended: {reason}" if reason else "resumed"
        why.add("suspended" if reason else "resumed", text, pids)
        await send_log(f"The task is {text}.\n")
        # Compared again before the next wait: a change during the two waits above set an event that
        # this task did not wait for.
        applied = bool(reason)
