"""Writes a run's log: whole segments, a quota, and a memory for what a full disk refuses.

Only one thread at a time may call a `SegmentWriter`; its `state` may be read from any. Whatever
the disk does, the pipe is emptied: what cannot be stored is held in memory, the newest bytes
only, and stored as soon as the disk takes bytes again. The hole between stays a hole: offsets
count what was printed.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from trio_afrender.tasklog.gaps import MissingRanges
from trio_afrender.tasklog.interfaces import Chunk, Missing
from trio_afrender.tasklog.segments import (
    DROPPED,
    MissingRange,
    list_folder,
    note_path,
    read_segments,
    segment_path,
    sum_missing,
)

__all__ = ("LiveReader", "LogState", "SegmentWriter", "open_writer")

_log = logging.getLogger(__name__)

_CHUNK = 1024 * 1024
_MAX_CALL = 4 * 1024 * 1024
_MAX_ROUNDS = 64
"""Moves a call makes at most: a writer of single bytes must not keep a thread for ever."""
_KEEP_OPEN_ABOVE = 64 * 1024
"""Below that a call closes its file again: a thousand quiet runs hold no descriptors."""
_NO_SPLICE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


@dataclass(frozen=True, slots=True)
class LogState:
    """One moment of a log, replaced as a whole, so that readers need no lock."""

    starts: tuple[int, ...] = ()
    size: int = 0
    held: bytes = b""
    """The last bytes of the log, when the disk would not take them."""
    ranges: tuple[MissingRange, ...] = ()
    lost: int = 0


@dataclass(slots=True)
class _Segment:
    start: int
    length: int = 0

    @property
    def end(self) -> int:
        return self.start + self.length


class SegmentWriter:
    """The one who writes a log folder. Make it with `open_writer`, give it back with `close`."""

    def __init__(
        self,
        folder: Path,
        segments: list[_Segment],
        ledger: MissingRanges,
        *,
        quota: int,
        segment: int,
        held: int,
    ) -> None:
        self.folder = folder
        self._segments = segments
        self._ledger = ledger
        self._quota = quota
        # The head, two of the middle and the newest always fit: a tail never shrinks to the few
        # bytes written since the last rotation.
        self._segment_size = max(1, min(segment, quota // 4))
        self._most_held = held
        self._fd: int | None = None
        self._held = b""
        self._splices = hasattr(os, "splice")
        self._troubled = False
        self.disk_error = ""
        """What the disk said when it first refused; empty: it never did."""
        stored = segments[-1].end if segments else 0
        self._size = max((stored, *(gone.end for gone in ledger.ranges)))
        self.state = LogState()
        self._publish()

    def fill_from(self, fd: int) -> int | None:
        """Move what the non-blocking pipe holds to the end of the log, a few MiB at most.

        Return how many bytes; 0 when its writers are gone, None when there was nothing now.
        Raises OSError for the pipe only.
        """
        moved = 0
        try:
            for _ in range(_MAX_ROUNDS):
                count = self._move(fd)
                moved += count
                if not count or moved >= _MAX_CALL:
                    break
        except BlockingIOError:
            return moved or None
        finally:
            self._publish()
            self._rest_if_quiet(moved)
        return moved

    def append(self, data: bytes) -> None:
        """Put bytes at the end. Never raises for what the disk does."""
        self._store(data)
        self._publish()
        self._rest_if_quiet(len(data))

    @property
    def settled(self) -> bool:
        """Whether nothing is open and nothing held: `close` would find nothing to do."""
        return self._fd is None and not self._held

    def close_fd(self) -> None:
        """Hold no descriptor until the next bytes come."""
        if self._fd is not None:
            # Closing can report a late failure of a network share; nothing is left to be done.
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = None

    def close(self) -> None:
        """Store what is held, if the disk takes it now; else note it as lost. Last call."""
        self._store(b"")
        self._ledger.note_loss(self._size - len(self._held), self._held)
        self._publish()
        self.close_fd()

    def reader(self) -> LiveReader:
        return LiveReader(self)

    def _rest_if_quiet(self, moved: int) -> None:
        if moved < _KEEP_OPEN_ABOVE:
            self.close_fd()

    def _move(self, fd: int) -> int:
        if self._splices and not self._held and (room := self._room_or_none()):
            try:
                return self._splice(fd, min(room, _CHUNK))
            except BlockingIOError:
                raise
            except OSError as error:
                # The pipe still holds the bytes: read them, and let `_store` meet the trouble.
                self._splices = error.errno not in _NO_SPLICE
        data = os.read(fd, _CHUNK)
        self._store(data)
        return len(data)

    def _splice(self, pipe: int, count: int) -> int:
        segment, fd = self._segments[-1], self._fd
        assert fd is not None  # noqa: S101 - `_make_room` opened it
        # At an explicit offset: the kernel refuses to splice to a file opened for appending.
        count = os.splice(
            pipe,
            fd,
            count,
            offset_dst=segment.length,
            flags=os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK,
        )
        segment.length += count
        self._size += count
        return count

    def _room_or_none(self) -> int:
        try:
            return self._make_room(self._size)
        except OSError:
            return 0

    def _store(self, data: bytes) -> None:
        """Write what was held before and `data`; hold what the disk refuses, the newest of it."""
        pending = self._held + data if self._held else data
        if not pending:
            return
        start = self._size - len(self._held)
        self._size += len(data)
        start += self._write(start, pending)
        pending = pending[len(pending) - (self._size - start) :]
        if over := max(0, len(pending) - self._most_held):
            self._ledger.lose(start, pending[:over])
        self._held = pending[over:]

    def _write(self, start: int, data: bytes) -> int:
        """Write as much as the disk takes, from log offset `start` on; return how much."""
        view = memoryview(data)
        written = 0
        try:
            while written < len(data):
                room = self._make_room(start + written)
                segment, fd = self._segments[-1], self._fd
                assert fd is not None  # noqa: S101 - `_make_room` opened it
                count = os.pwrite(fd, view[written : written + room], segment.length)
                segment.length += count
                written += count
        except OSError as error:
            self._note_trouble(error)
        else:
            if self._troubled:
                self._troubled = False
                self._ledger.note_loss()
        return written

    def _note_trouble(self, error: OSError) -> None:
        if not self._troubled:
            _log.warning("cannot store output in %s: %s", self.folder, error)
        self.disk_error = self.disk_error or error.strerror or str(error)
        self._troubled = True
        if self._segments and not self._segments[-1].length:
            # Its bytes will not come, or from another offset on.
            self.close_fd()
            with contextlib.suppress(OSError):
                segment_path(self.folder, self._segments.pop().start).unlink()

    def _make_room(self, at: int) -> int:
        """Have a segment open whose next byte is log offset `at`; return its room. Raises OSError."""
        current = self._segments[-1] if self._segments else None
        if current is None or current.end != at or current.length >= self._segment_size:
            self.close_fd()
            self._drop_oldest()
            self._fd = self._open(at)
            current = _Segment(at)
            self._segments.append(current)
        elif self._fd is None:
            self._fd = self._open(current.start)
        return self._segment_size - current.length

    def _open(self, start: int) -> int:
        path, flags = segment_path(self.folder, start), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        try:
            return os.open(path, flags, 0o600)
        except FileNotFoundError:
            self.folder.mkdir(mode=0o700)
            return os.open(path, flags, 0o600)

    def _drop_oldest(self) -> None:
        """Drop the oldest of the middle until one more segment fits in. Raises OSError."""
        kept = sum(segment.length for segment in self._segments)
        while kept + self._segment_size > self._quota and len(self._segments) > 2:
            oldest = self._segments[1]
            self._ledger.drop(oldest.start, oldest.end)
            del self._segments[1]
            kept -= oldest.length
            self._publish()

    def _publish(self) -> None:
        self.state = LogState(
            tuple(segment.start for segment in self._segments),
            self._size,
            self._held,
            self._ledger.ranges,
            self._ledger.lost + len(self._held),
        )


@dataclass(frozen=True, slots=True)
class LiveReader:
    """A `LogReader` of the writer's own process: it also sees what the disk would not take."""

    _writer: SegmentWriter

    def size(self) -> int:
        return self._writer.state.size

    def read(self, offset: int, limit: int) -> Chunk:
        while True:
            state = self._writer.state
            held_start = state.size - len(state.held)
            if state.held and offset >= held_start:
                return _from_held(state, offset, limit)
            chunk = read_segments(self._writer.folder, state.starts, offset, limit)
            if chunk is not None and chunk.offset == offset:
                return chunk
            # A jump is true if nothing was dropped or stored while we looked.
            if state.starts != self._writer.state.starts or state.held != self._writer.state.held:
                continue
            if chunk is not None:
                return chunk
            return _from_held(state, max(offset, held_start), limit)

    def missing(self, before: int) -> Missing:
        return sum_missing(self._writer.state.ranges, before)


def _from_held(state: LogState, offset: int, limit: int) -> Chunk:
    start = offset - (state.size - len(state.held))
    return Chunk(offset, state.held[start : start + limit])


def open_writer(folder: Path, *, quota: int, segment: int, held: int) -> SegmentWriter:
    """Go on at the end of the log in `folder`, if there is one. Raises OSError.

    The folder, but not its parents, is made when the first bytes come.
    """
    listing = list_folder(folder)
    segments = []
    for start in listing.starts:
        with contextlib.suppress(FileNotFoundError):
            segments.append(_Segment(start, segment_path(folder, start).stat().st_size))
    _finish_drops(folder, listing.ranges)
    return SegmentWriter(
        folder,
        segments,
        MissingRanges(folder, listing.ranges),
        quota=quota,
        segment=segment,
        held=held,
    )


def _finish_drops(folder: Path, ranges: tuple[MissingRange, ...]) -> None:
    """Remove what an agent killed between a note and its removal left behind."""
    dropped = [gone for gone in ranges if gone.kind == DROPPED]
    for gone in dropped:
        if note_path(folder, gone).stat().st_size:
            os.truncate(note_path(folder, gone), 0)
    if dropped:
        for path in folder.glob("*.log"):
            if path.stem.isdecimal() and any(g.start <= int(path.stem) < g.end for g in dropped):
                path.unlink(missing_ok=True)
