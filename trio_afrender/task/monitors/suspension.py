"""Suspends and resumes the processes of a run as requested."""

from __future__ import annotations

from trio_afrender.process.interfaces import ProcessTree, TreeSignal
from trio_afrender.task.run_state import RunState

__all__ = ("SuspensionMonitor",)


class SuspensionMonitor:
    """Applies the run's `Suspension` to a process while that one runs.

    A stop needs nothing from here: a suspended process could not react to TERM, so sending TERM to a
    tree resumes it.
    """

    def __init__(self, state: RunState) -> None:
        self._state = state

    async def run(self, process: ProcessTree) -> None:
        """Suspend and resume `process` until cancelled."""
        suspension = self._state.control.suspension
        if process.suspended:
            # An earlier agent suspended it and nothing has resumed it since.
            suspension.change("by the agent before this one")
        applied = bool(suspension.reason) and process.suspended
        while True:
            if bool(suspension) == applied:
                await suspension.changed()
                continue
            reason = suspension.reason
            pids = await process.signal_tree(TreeSignal.SUSPEND if reason else TreeSignal.RESUME)
            text = f"suspended: {reason}" if reason else "resumed"
            self._state.why.add("suspended" if reason else "resumed", text, pids)
            await self._state.send_log(f"The task is {text}.\n")
            # Compared again before the next wait: a change during the two waits above set an event
            # that this task did not wait for.
            applied = bool(reason)
