"""The read end of a tree's output pipe."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import final

import trio

from trio_afrender.tasklog.interfaces import RunLog

__all__ = ("Pipe", "open_pipe")

PIPE_CAPACITY = 1 << 20
"""Bytes that a renderer may print ahead of us; 64 KiB is the kernel's own default."""


@final
class Pipe:
    """An `OutputPipe` over a descriptor that it owns. One `pump` at a time."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._closed = False
        self._filling = False

    @property
    def inode(self) -> int:
        """The pipe's number, 0 once closed: who has it open belongs to the tree."""
        return 0 if self._closed else os.fstat(self._descriptor).st_ino

    async def pump(self, log: RunLog) -> None:
        """Move everything into `log` until all writers are gone.

        Safe to cancel, and to call again afterwards. Raises `trio.ClosedResourceError` when the
        pipe is or gets closed, `trio.BusyResourceError` when another pump is at work.
        """
        if self._filling:
            raise trio.BusyResourceError("another task is pumping this pipe")
        more = 1
        while more:
            if self._closed:
                # Who was cancelled while a thread filled, and closed it then, knows why.
                await trio.lowlevel.checkpoint_if_cancelled()
                raise trio.ClosedResourceError("this pipe has been closed")
            await trio.lowlevel.wait_readable(self._descriptor)
            self._filling = True
            try:
                more = await log.fill_from(self._descriptor)
            finally:
                self._filling = False
                self._close_late()

    def _close_late(self) -> None:
        if self._closed:
            os.close(self._descriptor)

    async def aclose(self) -> None:
        """Give the descriptor back; writers get SIGPIPE from then on. May be called again."""
        if not self._closed:
            self._closed = True
            trio.lowlevel.notify_closing(self._descriptor)
            # Another thread may be reading it just now: then the pump closes it, else the number
            # could name another file by the time of the read.
            if not self._filling:
                os.close(self._descriptor)
        await trio.lowlevel.checkpoint()


def open_pipe() -> tuple[int, int]:
    """Return read end (non-blocking) and write end (blocking) of a large pipe; the caller closes."""
    reader, writer = os.pipe()  # close-on-exec, both of them
    os.set_blocking(reader, False)
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        # Refused to a user who has too many large pipes: then it is a smaller one.
        with contextlib.suppress(OSError):
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_CAPACITY)
    return reader, writer
