"""The log as servers and listeners see it: a parser may replace parts of the output.

Until a parser replaces something, the displayed log is the raw log up to where the parser has read. From
the first replacement on, it continues in a log of its own: batches are copied there, or what the
parser puts in their place. Offsets before that switch are those of the raw log, so the position of a
reader stays valid, and the size never decreases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Protocol

import attrs
import trio

from trio_afrender.tasklog.head_tail import missing_marker
from trio_afrender.tasklog.interfaces import Chunk, LogReader, Missing, RunLog
from trio_afrender.tasklog.io_threads import retry_exhausted, work_in_thread
from trio_afrender.tasklog.memory_log import MemoryLogStore
from trio_afrender.tasklog.size_event import SizeEvent
from trio_afrender.tasklog.writer import DEFAULT_QUOTA, MAX_HELD, SEGMENT_SIZE, open_writer
from trio_afrender.text import to_bytes

__all__ = ("DisplayedLog", "Replacement")

_CHUNK = 128 * 1024
"""Bytes that are copied at once; as many as `head_tail` reads, for the same reason."""


class Replacement(Protocol):
    """Two log offsets, and the text that takes the place of what is between them."""

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

    def reaches_beyond(self, shown: int) -> bool:
        """Whether it replaces, or adds to, what is not shown yet."""
        return self.end > shown or self.start == self.end == shown


class _Store(Protocol):
    """The log that the displayed log continues in: a folder or memory."""

    def append(self, data: bytes) -> None: ...

    def close_fd(self) -> None: ...

    def reader(self) -> LogReader: ...


class DisplayedLog:
    """Grows by `apply` only. Keeps no descriptor open, so there is nothing to close."""

    def __init__(self, log: RunLog, folder: Path | None, *, quota: int = DEFAULT_QUOTA) -> None:
        self._log = log
        self._folder = folder
        self._quota = quota
        self._shown = 0  # raw log offset up to which everything is shown or replaced
        self._own: _Store | None = None
        self._size_event = SizeEvent()
        self._lock = trio.Lock()
        self._reader = _DisplayedReader(log.reader(), 0)

    @property
    def folder(self) -> Path | None:
        """A folder if some of it is on disk, None if all of it is in memory."""
        return self._log.folder or self._folder

    @property
    def size(self) -> int:
        return self._size_event.size

    @property
    def ended(self) -> bool:
        return self._size_event.ended

    def reader(self) -> LogReader:
        """Return a reader of what is displayed; it grows with the log."""
        # Not `self._reader` itself: `apply` replaces it.
        return _LiveDisplayedReader(lambda: self._reader)

    async def wait_beyond(self, offset: int) -> int:
        """Wait until there are bytes beyond `offset` or the log has ended; return the size."""
        return await self._size_event.wait_beyond(offset)

    def end(self) -> None:
        """Mark the log as complete and wake all waiting tasks."""
        self._size_event.end()

    async def apply(self, consumed: int, replaced: Iterable[Replacement] = ()) -> None:
        """Display the raw log up to offset `consumed`, with the replacements.

        Replacements of what is displayed already are ignored. Without a parser, or after its end,
        ``apply(log.size)`` displays the rest. Raises OSError if the raw log cannot be read, after some
        seconds if only the host has nothing left for that. Cancelled before it began, nothing has
        happened; while it waits for the host, the rest is not displayed; else it completes.
        """
        async with self._lock:
            # Nothing beyond the raw log counts as shown, or the size would decrease later.
            size = self._log.size
            parts = (_Part(min(p.start, size), min(p.end, size), p.text) for p in replaced)
            ahead = [part for part in parts if part.reaches_beyond(self._shown)]
            # Everything is copied in one pass, so they must ascend.
            ahead.sort(key=attrgetter("start"))
            consumed = min(consumed, size)
            if not ahead and self._own is None:
                # The common case costs no thread: only the end of the raw part moves.
                self._shown = max(self._shown, consumed)
                self._reader = attrs.evolve(self._reader, raw_end=self._shown)
            elif self.folder is None:
                self._copy(consumed, ahead)
            else:
                # The parser returns its replacements once: nothing else would repeat this.
                copy = partial(self._copy, consumed, ahead)
                await retry_exhausted(partial(work_in_thread, copy))
            self._size_event.grow(self._reader.size())

    def _copy(self, consumed: int, replaced: list[_Part]) -> None:
        """Display up to `consumed`. What is displayed is taken out of `replaced`: after an `OSError`
        the same call continues."""
        own = self._own
        try:
            while replaced:
                part = replaced[0]
                if own is None:
                    # What is before the first replacement stays in the raw log.
                    self._shown = max(self._shown, part.start)
                    own = MemoryLogStore()
                    if self._folder is not None:
                        own = open_writer(
                            self._folder, quota=self._quota, segment=SEGMENT_SIZE, held=MAX_HELD
                        )
                    self._own = own
                    self._reader = attrs.evolve(self._reader, raw_end=self._shown, own=own.reader())
                self._copy_raw(own, part.start)
                own.append(to_bytes(part.text))
                self._shown = max(self._shown, part.end)
                del replaced[0]
            if own is not None:
                self._copy_raw(own, consumed)
        finally:
            # Also after an error: nothing else would close it.
            if own is not None:
                own.close_fd()

    def _copy_raw(self, own: _Store, stop: int) -> None:
        """Copy the raw log from where it is shown up to `stop`, with a marker for what is missing."""
        raw = self._reader.raw
        while self._shown < stop:
            chunk = raw.read(self._shown, min(_CHUNK, stop - self._shown))
            # Without data, all of the rest is missing.
            start = min(chunk.offset, stop) if chunk.data else stop
            if start > self._shown:
                lines = raw.missing(start).lines - raw.missing(self._shown).lines
                own.append(f"\n{missing_marker(start - self._shown, lines)}".encode())
            data = chunk.data[: stop - start]
            own.append(data)
            self._shown = start + len(data)


@attrs.frozen(slots=True)
class _DisplayedReader:
    """The displayed log at one moment. Replaced as a whole, so threads that read it need no lock."""

    raw: LogReader
    raw_end: int
    """Offset up to which the raw log is displayed."""
    own: LogReader | None = None

    def size(self) -> int:
        return self.raw_end + (self.own.size() if self.own else 0)

    def read(self, offset: int, limit: int) -> Chunk:
        if offset < self.raw_end:
            chunk = self.raw.read(offset, min(limit, self.raw_end - offset))
            if chunk.offset < self.raw_end and chunk.data:
                return Chunk(chunk.offset, chunk.data[: self.raw_end - chunk.offset])
            # All of the raw part from here on is missing: continue with the log of its own.
            offset = self.raw_end
        if self.own is None:
            return Chunk(offset, b"")
        chunk = self.own.read(offset - self.raw_end, limit)
        return Chunk(self.raw_end + chunk.offset, chunk.data)

    def missing(self, before: int) -> Missing:
        raw = self.raw.missing(min(before, self.raw_end))
        if self.own is None or before <= self.raw_end:
            return raw
        own = self.own.missing(before - self.raw_end)
        return Missing(raw.bytes + own.bytes, raw.lines + own.lines)


@attrs.frozen(slots=True)
class _LiveDisplayedReader:
    """A `LogReader` that uses the newest `_DisplayedReader` for each call."""

    _now: Callable[[], _DisplayedReader]

    def size(self) -> int:
        return self._now().size()

    def read(self, offset: int, limit: int) -> Chunk:
        return self._now().read(offset, limit)

    def missing(self, before: int) -> Missing:
        return self._now().missing(before)
