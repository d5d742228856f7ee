"""A run's log that another process writes (the parent of the task) and tells us of."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import trio

from trio_afrender.errors import StoreError
from trio_afrender.tasklog.interfaces import Chunk, Missing
from trio_afrender.tasklog.io_threads import fill_in_thread
from trio_afrender.tasklog.segments import FolderReader, MissingRange, open_reader, sum_missing
from trio_afrender.tasklog.size_event import SizeEvent

__all__ = ("SupervisedLog", "open_supervised_log")

logger = logging.getLogger(__name__)


class SupervisedLog:
    """A `RunLog` that is read here and written elsewhere. Made by `open_followed_log`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._growth = SizeEvent()
        self._held = Chunk(0, b"")
        self._lost = 0
        self._trouble = ""
        self._ranges: tuple[MissingRange, ...] | None = None

    @property
    def folder(self) -> Path | None:
        return self._folder

    @property
    def size(self) -> int:
        return self._growth.size

    @property
    def lost(self) -> int:
        """Bytes that are not stored now. The newest of them may be yet: then it goes back."""
        return self._lost

    @property
    def grew_at(self) -> float:
        return self._growth.grew_at

    @property
    def ended(self) -> bool:
        return self._growth.ended

    def reader(self) -> _Reader:
        """Read it in a thread; grows with the log."""
        return _Reader(self, open_reader(self._folder))

    @property
    def held(self) -> Chunk:
        """What only memory holds: it is read as if it were on disk."""
        return self._held

    @property
    def ranges(self) -> tuple[MissingRange, ...] | None:
        """What is gone, as its writer knew it at the end; None: as the folder tells."""
        return self._ranges

    def follow(self, size: int, lost: int = 0, trouble: str = "") -> None:
        """Note what the writer told: the run has printed `size` bytes, `lost` are not stored, and
        the disk said `trouble`."""
        if trouble and not self._trouble:
            logger.warning("cannot store output in %s: %s", self._folder, trouble)
        self._trouble = self._trouble or trouble
        self._lost = lost
        self._growth.grow(size)

    def hold(self, data: bytes, ranges: tuple[MissingRange, ...]) -> None:
        """Take over from the writer's memory: the end of the log, which no disk took, and what is
        gone for good, of which the disk may not even have taken the notes."""
        self._held = Chunk(self.size - len(data), data)
        self._ranges = ranges

    async def append(self, data: bytes) -> None:
        """Not for us: raises `trio.BusyResourceError`."""
        await trio.lowlevel.checkpoint()
        raise trio.BusyResourceError("another process writes this log")

    async def fill_from(self, fd: int) -> int:
        """Not for us: raises `trio.BusyResourceError`."""
        await trio.lowlevel.checkpoint()
        raise trio.BusyResourceError("another process writes this log")

    async def wait_beyond(self, offset: int) -> int:
        """Wait until there are bytes beyond `offset`, or the end; return the size."""
        return await self._growth.wait_beyond(offset)

    def end(self) -> None:
        """Say that nothing more will come: waiters wake."""
        self._growth.end()


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
async def open_supervised_log(
    folder: Path, *, beside: Sequence[Path] = ()
) -> AsyncIterator[SupervisedLog]:
    """Make the folders of a log that somebody else will write; leaving ends it. Raises `StoreError`."""
    try:
        # Theirs first: who finds it missing makes it again, with more calls and another mode.
        await fill_in_thread(partial(_make, (folder.parent, *beside)))
    except OSError as error:
        raise StoreError.of(folder, error) from error
    log = SupervisedLog(folder)
    try:
        yield log
    finally:
        log.end()


def _make(folders: Sequence[Path]) -> None:
    for folder in folders:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
