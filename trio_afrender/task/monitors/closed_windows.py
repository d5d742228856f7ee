"""Notes which windows of a process tree were closed, on Windows."""

from __future__ import annotations

import trio

from trio_afrender.process.interfaces import ClosedWindow, ProcessTree
from trio_afrender.task.run_state import RunState

__all__ = ("ClosedWindows",)


class ClosedWindows:
    """Adds each window that was closed to the reasons and to the log of the run."""

    def __init__(self, state: RunState) -> None:
        self._state = state

    async def run(self, process: ProcessTree) -> None:
        """Note the windows of `process` until cancelled. Returns at once where trees have none."""
        closed = process.closed_windows
        if closed is None:
            return
        try:
            async for window in closed:
                await self._state.send_log(f"{self._note(window)}\n")
        finally:
            # Those of the last moment: the process may have ended because its window was closed.
            while True:
                try:
                    self._note(closed.receive_nowait())
                except (trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
                    break

    def _note(self, window: ClosedWindow) -> str:
        if window.answered:
            text = f'closed the window "{window.title}"'
        else:
            text = f'the window "{window.title}" does not answer to being closed'
        self._state.why.add("window", text, (window.pid,))
        return f"Windows Must Die: {text} of pid {window.pid}."
