"""A run's log that this process writes to disk before anything reads the output."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio

from trio_afrender.errors import StoreError
from trio_afrender.tasklog.io_threads import fill_in_thread
from trio_afrender.tasklog.pipes import wait_for_bytes
from trio_afrender.tasklog.segments import open_reader
from trio_afrender.tasklog.size_event import SizeEvent
from trio_afrender.tasklog.writer import LiveReader, SegmentWriter, open_writer

__all__ = ("DiskLog", "open_reader", "open_run_log")

_T = TypeVar("_T")

DEFAULT_QUOTA = 1024 * 1024 * 1024
SEGMENT_SIZE = 16 * 1024 * 1024
MAX_HELD = 512 * 1024
"""Bytes kept in memory while the disk refuses them: the tail of a window of 1 MiB."""


class DiskLog:
    """A `RunLog` whose blocking work is done in threads. Made by `open_run_log`."""

    def __init__(self, writer: SegmentWriter) -> None:
        self._writer = writer
        self._size_event = SizeEvent(writer.state.size)
        self._lock = trio.Lock()

    @property
    def folder(self) -> Path | None:
        return self._writer.folder

    @property
    def size(self) -> int:
        return self._size_event.size

    @property
    def lost(self) -> int:
        """Bytes that are not stored now. The newest of them may be yet: then it goes back."""
        return self._writer.state.lost

    @property
    def grew_at(self) -> float:
        return self._size_event.grew_at

    @property
    def ended(self) -> bool:
        return self._size_event.ended

    def reader(self) -> LiveReader:
        """Read it from this process, in a thread: what a full disk refused is seen too."""
        return self._writer.reader()

    async def append(self, data: bytes) -> None:
        """Put bytes at the end, in a thread. Raises `trio.ClosedResourceError` after the end."""
        self._check_open()
        async with self._lock:
            await self._change(lambda: self._writer.append(data))

    async def fill_from(self, fd: int) -> int:
        """Move what the pipe holds, as `RunLog.fill_from`; after the end as `append`.

        Waits when it holds nothing yet. Cancelled, bytes are either still in the pipe or counted.
        """
        while True:
            self._check_open()
            if not await wait_for_bytes(fd):
                await trio.lowlevel.checkpoint()
                return 0
            async with self._lock:
                moved = await self._change(lambda: self._writer.fill_from(fd))
            if moved is not None:
                return moved

    async def wait_beyond(self, offset: int) -> int:
        """Wait until there are bytes beyond `offset`, or the end; return the size."""
        return await self._size_event.wait_beyond(offset)

    def end(self) -> None:
        """Say that nothing more will come: waiters wake. What is on its way still counts."""
        self._size_event.end()

    async def _change(self, work: Callable[[], _T]) -> _T:
        try:
            return await fill_in_thread(work)
        finally:
            self._size_event.grow(self._writer.state.size)

    def _check_open(self) -> None:
        if self.ended:
            raise trio.ClosedResourceError("the log has ended")


@asynccontextmanager
async def open_run_log(
    folder: Path,
    *,
    quota: int = DEFAULT_QUOTA,
    segment: int = SEGMENT_SIZE,
    held: int = MAX_HELD,
    beside: Sequence[Path] = (),
) -> AsyncIterator[DiskLog]:
    """Make the log in `folder`, or continue the one there; leaving ends and closes it.

    At most `quota` bytes are kept: the first segment and the newest ones. Folders in `beside`
    are made on the same way to the disk. Raises `StoreError`.
    """
    folders = (*beside, folder)
    try:
        writer = await fill_in_thread(partial(_open_writer, folders, quota, segment, held))
    except OSError as error:
        raise StoreError.of(folder, error) from error
    log = DiskLog(writer)
    try:
        yield log
    finally:
        log.end()
        if not writer.settled:  # a thread call is a noticeable part of a tiny task's cost
            with trio.CancelScope(shield=True):
                await fill_in_thread(writer.close)


def _open_writer(folders: Sequence[Path], quota: int, segment: int, held: int) -> SegmentWriter:
    for folder in folders:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return open_writer(folders[-1], quota=quota, segment=segment, held=held)
