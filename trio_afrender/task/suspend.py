"""A run that stands still because somebody wants it so, and goes on when they want that.

The wish belongs to the run; the processes that it is applied to come and go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import final

import trio

from trio_afrender.process.interfaces import ProcessTree, TreeSignal
from trio_afrender.task.reasons import ReasonLog

__all__ = ("Suspension", "obey_suspension")


@final
class Suspension:
    """Whether a run is to stand still, and for how long it has."""

    def __init__(self) -> None:
        self.reason = ""
        """Why it is to stand still; empty: it is not."""
        self.ended = float("-inf")
        """When it was last let go on, in trio's time."""
        self._since = 0.0
        self._total = 0.0
        self._changed = trio.Event()

    def __bool__(self) -> bool:
        return bool(self.reason)

    def change(self, reason: str) -> bool:
        """Wish it to stand still for that reason, or '' to go on; False if that changes nothing."""
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
        self._changed = trio.Event()
        return True

    def seconds(self) -> float:
        """How long the run has stood still, all in all."""
        return self._total + (trio.current_time() - self._since if self.reason else 0.0)

    async def changed(self) -> None:
        """Wait for the next change of the wish."""
        await self._changed.wait()

    async def over(self) -> None:
        """Wait until it may go on."""
        await trio.lowlevel.checkpoint()
        while self.reason:
            await self._changed.wait()


async def obey_suspension(
    suspension: Suspension,
    child: ProcessTree,
    why: ReasonLog,
    say: Callable[[str], Awaitable[None]],
) -> None:
    """Suspend and resume `child` as is wished; cancelled when its process is over.

    `say` puts text into the task's log at once. A stop resumes it by itself: TERM is to be obeyed.
    """
    if child.suspended:
        suspension.change("by the agent before this one")
    done = suspension.reason if child.suspended else ""
    while True:
        if bool(suspension.reason) != bool(done):
            reason = suspension.reason
            signal = TreeSignal.SUSPEND if reason else TreeSignal.RESUME
            pids = await child.signal_tree(signal)
            text = f"suspended: {reason}" if reason else "resumed"
            why.add("suspended" if reason else "resumed", text, pids)
            await say(f"The task is {text}.\n")
            done = reason
            continue  # it may have changed meanwhile
        await suspension.changed()
