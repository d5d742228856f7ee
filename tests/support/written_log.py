"""A log on disk that a test writes, in the place of the task supervisor that writes a real one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from trio_afrender.tasklog.interfaces import LogReader
from trio_afrender.tasklog.size_event import SizeEvent
from trio_afrender.tasklog.writer import (
    DEFAULT_QUOTA,
    MAX_HELD,
    SEGMENT_SIZE,
    SegmentWriter,
    open_writer,
)

__all__ = ("WrittenLog", "open_written_log")


class WrittenLog:
    """A `RunLog` whose writer is in this process. Made by `open_written_log`."""

    def __init__(self, writer: SegmentWriter) -> None:
        self._writer = writer
        self._size_event = SizeEvent(writer.state.size)

    @property
    def folder(self) -> Path:
        return self._writer.folder

    @property
    def size(self) -> int:
        return self._size_event.size

    @property
    def lost(self) -> int:
        return self._writer.state.lost

    @property
    def grew_at(self) -> float:
        return self._size_event.grew_at

    @property
    def ended(self) -> bool:
        return self._size_event.ended

    def reader(self) -> LogReader:
        return self._writer.reader()

    async def append(self, data: bytes) -> None:
        await trio.to_thread.run_sync(self._writer.append, data)
        self._size_event.grow(self._writer.state.size)

    async def fill_from(self, fd: int) -> int:
        """Append what the non-blocking pipe `fd` holds; return how many bytes, 0 at its end."""
        while True:
            await trio.lowlevel.wait_readable(fd)
            moved = await trio.to_thread.run_sync(self._writer.fill_from, fd)
            self._size_event.grow(self._writer.state.size)
            if moved is not None:
                return moved

    async def wait_beyond(self, offset: int) -> int:
        return await self._size_event.wait_beyond(offset)

    def end(self) -> None:
        self._size_event.end()


@asynccontextmanager
async def open_written_log(
    folder: Path, *, quota: int = DEFAULT_QUOTA, segment: int = SEGMENT_SIZE, held: int = MAX_HELD
) -> AsyncIterator[WrittenLog]:
    """Make the log in `folder`, or continue the one there; leaving ends and closes it."""
    await trio.Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    writer = open_writer(folder, quota=quota, segment=segment, held=held)
    log = WrittenLog(writer)
    try:
        yield log
    finally:
        log.end()
        writer.close()
