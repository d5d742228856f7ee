"""What servers and listeners see of a run whose parser may replace parts of the output.

Until a parser replaces something that is the raw log, as far as the parser has come. From the
first replacement on it is a log of its own behind that part of the raw log: batches are copied
there, or what the parser put in their place. So offsets stay true and sizes never go back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Protocol

import attrs
import trio

from trio_afrender.tasklog.head_tail import missing_marker
from trio_afrender.tasklog.interfaces import Chunk, LogReader, Missing, RunLog
from trio_afrender.tasklog.io_threads import work_in_thread
from trio_afrender.tasklog.local_log import DEFAULT_QUOTA, MAX_HELD, SEGMENT_SIZE
from trio_afrender.tasklog.memory_log import MemoryLogStore
from trio_afrender.tasklog.size_event import SizeEvent
from trio_afrender.tasklog.writer import open_writer

__all__ = ("DisplayedLog", "Replacement")

_CHUNK = 1024 * 1024


class Replacement(Protocol):
    """Log offsets and the text that takes the place of what stands between them."""

    @property
    def start(self) -> int: ...

    @property
    def end(self) -> int: ...

    @property
    def text(self) -> str: ...


@attrs.frozen(slots=True)
class _Part:
    start: int
    end: int
    text: str

    def reaches_beyond(self, settled: int) -> bool:
        """Whether it replaces, or adds to, what is not shown yet."""
        return self.end > settled or self.start == self.end == settled


def _start_of(part: _Part) -> int:
    return part.start


class _Store(Protocol):
    """Where the view's own bytes go: a folder or memory."""

    def append(self, data: bytes) -> None: ...

    def close_fd(self) -> None: ...

    def reader(self) -> LogReader: ...


class DisplayedLog:
    """Grows by `apply` only. Holds no descriptor, so there is nothing to close."""

    def __init__(
        self,
        log: RunLog,
        folder: Path | None,
        *,
        quota: int = DEFAULT_QUOTA,
        segment: int = SEGMENT_SIZE,
    ) -> None:
        self._log = log
        self._folder = folder
        self._quota = quota
        self._segment = segment
        self._settled = 0  # log offset up to which everything is shown or replaced
        self._own: _Store | None = None
        self._growth = SizeEvent()
        self._lock = trio.Lock()
        self._reader = _ViewReader(log.reader(), 0)

    @property
    def folder(self) -> Path | None:
        """Where some of it lies on disk, None when all of it is in memory."""
        return self._log.folder or self._folder

    @property
    def size(self) -> int:
        return self._growth.size

    @property
    def ended(self) -> bool:
        return self._growth.ended

    def reader(self) -> LogReader:
        """Read what the view shows; grows with it."""
        return _LiveView(lambda: self._reader)

    async def wait_beyond(self, offset: int) -> int:
        """Wait until there are bytes beyond `offset`, or the end; return the size."""
        return await self._growth.wait_beyond(offset)

    def end(self) -> None:
        """Say that nothing more will come: waiters wake."""
        self._growth.end()

    async def apply(self, consumed: int, replaced: Iterable[Replacement] = ()) -> None:
        """Show the log up to offset `consumed`, but for what was replaced.

        What is shown already stays: replacements of it are ignored. So without a parser, or
        after one, ``apply(log.size)`` shows everything. Raises OSError when the raw log cannot
        be read. Cancelled before it began: nothing happened; else it is completed.
        """
        async with self._lock:
            size = self._log.size  # nothing is settled beyond: the view's size never goes back
            parts = (_Part(min(p.start, size), min(p.end, size), p.text) for p in replaced)
            ahead = sorted((p for p in parts if p.reaches_beyond(self._settled)), key=_start_of)
            consumed = min(consumed, size)
            if not ahead and self._own is None:
                self._settled = max(self._settled, consumed)
                self._reader = attrs.evolve(self._reader, raw_end=self._settled)
            else:
                await self._run(partial(self._copy, consumed, ahead))
            self._growth.grow(self._reader.size())

    async def _run(self, work: Callable[[], None]) -> None:
        if self.folder is None:
            work()
        else:
            await work_in_thread(work)

    def _copy(self, consumed: int, replaced: list[_Part]) -> None:
        own = self._own
        try:
            for part in replaced:
                if own is None:
                    # What stands before the first replacement needs no copy.
                    own = self._begin(max(self._settled, part.start))
                self._copy_raw(own, part.start)
                own.append(_encode(part.text))
                self._settled = max(self._settled, part.end)
            if own is not None:
                self._copy_raw(own, consumed)
        finally:
            if own is not None:
                own.close_fd()

    def _begin(self, switch: int) -> _Store:
        self._settled = switch
        own: _Store = MemoryLogStore()
        if self._folder is not None:
            own = open_writer(self._folder, quota=self._quota, segment=self._segment, held=MAX_HELD)
        self._own = own
        self._reader = attrs.evolve(self._reader, raw_end=switch, own=own.reader())
        return own

    def _copy_raw(self, own: _Store, stop: int) -> None:
        """Copy the raw log from where we are to `stop`, with a mark for what is gone."""
        raw = self._reader.raw
        while self._settled < stop:
            chunk = raw.read(self._settled, min(_CHUNK, stop - self._settled))
            start = min(chunk.offset, stop) if chunk.data else stop
            if start > self._settled:
                lines = raw.missing(start).lines - raw.missing(self._settled).lines
                own.append(f"\n{missing_marker(start - self._settled, lines)}".encode())
            data = chunk.data[: stop - start]
            own.append(data)
            self._settled = start + len(data)


@attrs.frozen(slots=True)
class _ViewReader:
    """One moment of a view, replaced as a whole, so that other threads need no lock."""

    raw: LogReader
    raw_end: int
    """Up to where the raw log is shown."""
    own: LogReader | None = None

    def size(self) -> int:
        return self.raw_end + (self.own.size() if self.own else 0)

    def read(self, offset: int, limit: int) -> Chunk:
        if offset < self.raw_end:
            chunk = self.raw.read(offset, min(limit, self.raw_end - offset))
            if chunk.offset < self.raw_end and chunk.data:
                return Chunk(chunk.offset, chunk.data[: self.raw_end - chunk.offset])
            offset = self.raw_end
        if self.own is None:
            return Chunk(offset, b"")
        chunk = self.own.read(offset - self.raw_end, limit)
        return Chunk(self.raw_end + chunk.offset, chunk.data)

    def missing(self, before: int) -> Missing:
        gone = self.raw.missing(min(before, self.raw_end))
        if self.own is None or before <= self.raw_end:
            return gone
        own = self.own.missing(before - self.raw_end)
        return Missing(gone.bytes + own.bytes, gone.lines + own.lines)


@attrs.frozen(slots=True)
class _LiveView:
    """A `LogReader` that follows the view from moment to moment."""

    _now: Callable[[], _ViewReader]

    def size(self) -> int:
        return self._now().size()

    def read(self, offset: int, limit: int) -> Chunk:
        return self._now().read(offset, limit)

    def missing(self, before: int) -> Missing:
        return self._now().missing(before)


def _encode(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a character, made up by a parser
        return text.encode("utf-8", "replace")
