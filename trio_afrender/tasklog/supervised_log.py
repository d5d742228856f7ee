"""A run's log that a task supervisor writes; the agent reads it from disk and gets reports on it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from trio_afrender.tasklog.interfaces import Chunk, Missing
from trio_afrender.tasklog.segments import FolderReader, MissingRange, open_reader, sum_missing
from trio_afrender.tasklog.size_event import SizeEvent

__all__ = ("SupervisedLog", "open_supervised_log")

logger: logging.Logger = logging.getLogger(__name__)


class SupervisedLog:
    """A `RunLog` that is read here and written by another process. Made by `open_supervised_log`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._size_event = SizeEvent()
        self._held = Chunk(0, b"")
        self._lost = 0
        self._trouble = ""
        self._ranges: tuple[MissingRange, ...] | None = None

    @property
    def folder(self) -> Path | None:
        return self._folder

    @property
    def size(self) -> int:
        return self._size_event.size

    @property
    def lost(self) -> int:
        """Bytes that are not stored now. Decreases if the newest of them can be stored later."""
        return self._lost

    @property
    def grew_at(self) -> float:
        return self._size_event.grew_at

    @property
    def ended(self) -> bool:
        return self._size_event.ended

    def reader(self) -> _Reader:
        """Return a reader that grows with the log. It blocks: use it in a thread."""
        return _Reader(self, open_reader(self._folder))

    @property
    def held(self) -> Chunk:
        """The end of the log if it is in memory only; readers return it as if it were on disk."""
        return self._held

    @property
    def ranges(self) -> tuple[MissingRange, ...] | None:
        """The missing ranges as the writer reported them at its end; None: those of the folder."""
        return self._ranges

    def follow(self, size: int, lost: int = 0, trouble: str = "") -> None:
        """Note a report of the writer: bytes printed, bytes not stored, and the disk's error text."""
        # Every report repeats the first error of the writer; the log gets one line.
        if trouble and not self._trouble:
            logger.warning("cannot store output in %s: %s", self._folder, trouble)
        self._trouble = self._trouble or trouble
        self._lost = lost
        self._size_event.grow(size)

    def hold(self, data: bytes, ranges: tuple[MissingRange, ...]) -> None:
        """Take over what only the writer's memory has: the end of the log, which could not be stored,
        and the missing ranges, for which the disk may have refused even the notes."""
        self._held = Chunk(self.size - len(data), data)
        self._ranges = ranges

    async def wait_beyond(self, offset: int) -> int:
        """Wait until there are bytes beyond `offset` or the log has ended; return the size."""
        return await self._size_event.wait_beyond(offset)

    def end(self) -> None:
        """Mark the log as complete and wake all waiting tasks."""
        self._size_event.end()


@attrs.frozen(slots=True)
class _Reader:
    _log: SupervisedLog
    _disk: FolderReader

    def size(self) -> int:
        return self._log.size

    def read(self, offset: int, limit: int) -> Chunk:
        held = self._log.held
        if held.data and offset < held.offset:
            chunk = self._disk.read(offset, limit)
            if chunk.data:
                return chunk
            # Nothing is stored from here on: the next bytes are the held ones.
            offset = held.offset
        if held.data:
            start = offset - held.offset
            return Chunk(offset, held.data[start : start + limit])
        return self._disk.read(offset, limit)

    def missing(self, before: int) -> Missing:
        if self._log.ranges is None:
            return self._disk.missing(before)
        return sum_missing(self._log.ranges, before)


@asynccontextmanager
async def open_supervised_log(folder: Path) -> AsyncIterator[SupervisedLog]:
    """Open the log that a supervisor will write in `folder`. Leaving ends it.

    Nothing is made on disk here: that is the supervisor's, see `supervisor.run_folders`.
    """
    await trio.lowlevel.checkpoint()
    log = SupervisedLog(folder)
    try:
        yield log
    finally:
        log.end()
