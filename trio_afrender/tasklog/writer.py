"""Writes a run's log: in segments, under a quota, with a buffer for bytes that a full disk refuses.

Only one thread at a time may call a `SegmentWriter`; any may read its `state`. The pipe is emptied
whatever the disk does, so that the renderer never blocks: bytes that cannot be stored are held in
memory, the newest ones only, and stored as soon as the disk accepts bytes again. What was discarded
in between stays a gap, because offsets count what was printed.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from trio_afrender.safe_files import open_regular, remove_file, write_at
from trio_afrender.tasklog.gaps import MissingRanges
from trio_afrender.tasklog.interfaces import Chunk, Missing
from trio_afrender.tasklog.segments import (
    DROPPED,
    EXCHANGED,
    MissingRange,
    empty_note,
    list_folder,
    read_segments,
    segment_path,
    segment_size,
    sum_missing,
)

__all__ = (
    "DEFAULT_QUOTA",
    "MAX_HELD",
    "SEGMENT_SIZE",
    "LiveReader",
    "LogState",
    "SegmentWriter",
    "open_writer",
)

_log = logging.getLogger(__name__)

DEFAULT_QUOTA = 1024 * 1024 * 1024
"""Bytes of one log that are kept."""
SEGMENT_SIZE = 16 * 1024 * 1024
MAX_HELD = 512 * 1024
"""Bytes kept in memory while the disk refuses them: the tail of a window of 1 MiB."""
_CHUNK = 1024 * 1024
_MAX_CALL = 4 * 1024 * 1024
"""Bytes that one call of `fill_from` moves at most, about."""
_MAX_ROUNDS = 64
"""Moves in one call: a program that prints single bytes must not occupy a thread for ever."""
_KEEP_OPEN_ABOVE = 64 * 1024
"""After fewer bytes the file is closed again: a thousand quiet runs need no descriptors."""
_NO_SPLICE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


@dataclass(frozen=True, slots=True)
class LogState:
    """A log at one moment. Replaced as a whole, so that readers need no lock."""

    starts: tuple[int, ...] = ()
    size: int = 0
    held: bytes = b""
    """The last bytes of the log, if the disk refused them."""
    ranges: tuple[MissingRange, ...] = ()
    lost: int = 0
    """Bytes that are not stored now, held ones included."""


@dataclass(slots=True)
class _Segment:
    start: int
    length: int = 0

    @property
    def end(self) -> int:
        return self.start + self.length


class SegmentWriter:
    """The only writer of a log folder. Made by `open_writer`; the maker calls `close`."""

    def __init__(
        self,
        folder: Path,
        segments: list[_Segment],
        missing: MissingRanges,
        *,
        quota: int,
        segment: int,
        held: int,
        group: int = -1,
    ) -> None:
        self.folder = folder
        self._group = group
        self._segments = segments
        self._missing = missing
        self._quota = quota
        # At least four segments fit: the first, two of the middle, the newest. Otherwise the tail
        # would shrink at each rotation to the few bytes that are in the new segment.
        self._segment_size = max(1, min(segment, quota // 4))
        self._max_held = held
        self._fd: int | None = None
        self._held = b""
        self._can_splice = hasattr(os, "splice")
        self._disk_refuses = False
        self.disk_error: str = ""
        """The text of the first disk error; empty: there was none."""
        stored = segments[-1].end if segments else 0
        # The last bytes may be lost ones, and offsets count them too.
        self._size = max((stored, *(each.end for each in missing.ranges)))
        self.state: LogState = LogState()
        self._publish()

    def fill_from(self, fd: int) -> int | None:
        """Append what the non-blocking pipe holds, a few MiB at most.

        Return how many bytes; 0 if its writers are gone, None if it is empty now. Raises OSError for
        the pipe only, never for the disk.
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
            self._close_if_quiet(moved)
        return moved

    def append(self, data: bytes) -> None:
        """Append bytes. Raises nothing for what the disk does."""
        self._store(data)
        self._publish()
        self._close_if_quiet(len(data))

    def close_fd(self) -> None:
        """Close the segment; the next bytes open it again."""
        if self._fd is not None:
            # On a network share, closing can report the failure of an earlier write. It comes too
            # late to do anything about it.
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = None

    def close(self) -> None:
        """Store what is held, or note it as lost if the disk still refuses it. The last call."""
        self._store(b"")
        self._missing.note_loss(self._size - len(self._held), self._held)
        self._publish()
        self.close_fd()

    def reader(self) -> LiveReader:
        return LiveReader(self)

    def _close_if_quiet(self, moved: int) -> None:
        if moved < _KEEP_OPEN_ABOVE:
            self.close_fd()

    def _move(self, pipe: int) -> int:
        """Move bytes once, by splice if possible: then they are never in this process's memory, and
        none is lost if it is killed."""
        if self._can_splice and not self._held:
            try:
                room = self._make_room(self._size)
            except OSError:
                room = 0  # read below as well: `_store` handles the disk's error
            if room:
                segment, file = self._segments[-1], self._fd
                assert file is not None  # noqa: S101 - `_make_room` opened it
                try:
                    count = os.splice(
                        pipe,
                        file,
                        min(room, _CHUNK),
                        # The kernel refuses to splice into a file opened for appending.
                        offset_dst=segment.length,
                        flags=os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK,
                    )
                except BlockingIOError:
                    raise
                except OSError as error:
                    # The bytes are still in the pipe, and are read below.
                    self._can_splice = error.errno not in _NO_SPLICE
                else:
                    segment.length += count
                    self._size += count
                    return count
        data = os.read(pipe, _CHUNK)
        self._store(data)
        return len(data)

    def _store(self, data: bytes) -> None:
        """Write the held bytes and `data`. Hold the newest of what the disk refuses, lose the rest."""
        pending = self._held + data if self._held else data
        if not pending:
            return
        start = self._size - len(self._held)
        self._size += len(data)
        start += self._write(start, pending)
        # What the disk did not accept: it may have accepted a part.
        pending = pending[len(pending) - (self._size - start) :]
        if over := max(0, len(pending) - self._max_held):
            self._missing.lose(start, pending[:over])
        self._held = pending[over:]

    def _write(self, start: int, data: bytes) -> int:
        """Write `data` from log offset `start` on; return how many bytes the disk accepted."""
        view = memoryview(data)
        written = 0
        try:
            while written < len(data):
                room = self._make_room(start + written)
                segment, fd = self._segments[-1], self._fd
                assert fd is not None  # noqa: S101 - `_make_room` opened it
                count = write_at(fd, view[written : written + room], segment.length)
                segment.length += count
                written += count
        except OSError as error:
            # One line in the log for a full disk, not one for each write.
            if not self._disk_refuses:
                _log.warning("cannot store output in %s: %s", self.folder, error)
            self.disk_error = self.disk_error or error.strerror or str(error)
            self._disk_refuses = True
            if self._segments and not self._segments[-1].length:
                # An empty new segment: if bytes are stored later, they start at another offset.
                self.close_fd()
                with contextlib.suppress(OSError):
                    remove_file(segment_path(self.folder, self._segments.pop().start))
        else:
            if self._disk_refuses:
                self._disk_refuses = False
                self._missing.note_loss()
        return written

    def _make_room(self, at: int) -> int:
        """Open a segment whose next byte is log offset `at`, if it is not open; return how many bytes
        fit into it. Raises OSError."""
        current = self._segments[-1] if self._segments else None
        if current is None or current.end != at or current.length >= self._segment_size:
            # `at` is not the end after a loss: offsets in a segment count from its start, so it
            # cannot have a gap.
            self.close_fd()
            stored = sum(segment.length for segment in self._segments)
            # Until a new segment fits the quota.
            while stored + self._segment_size > self._quota and len(self._segments) > 2:
                # Index 1: the first segment is the head of every window.
                oldest = self._segments[1]
                self._missing.drop(oldest.start, oldest.end)
                del self._segments[1]
                stored -= oldest.length
                # After each one: a reader repeats its read if segments were dropped meanwhile.
                self._publish()
            self._fd = self._open(at, new=True)
            current = _Segment(at)
            self._segments.append(current)
        elif not self._is_intact(current):
            # Writing on would put zeros in the place of the earlier bytes, or to what is no file.
            self.close_fd()
            self._segments.pop()
            if current.length:
                self._missing.lose_segment(current.start, current.end)
            return self._make_room(at)
        return self._segment_size - current.length

    def _is_intact(self, segment: _Segment) -> bool:
        """Open the newest segment, if it is not open; False if the task has removed or exchanged it.

        Raises OSError.
        """
        try:
            if self._fd is None:
                self._fd = self._open(segment.start)
        except OSError as error:
            if error.errno not in EXCHANGED:
                raise
            return False
        facts = os.fstat(self._fd)
        return facts.st_nlink > 0 and facts.st_size >= segment.length

    def _open(self, start: int, *, new: bool = False) -> int:
        path, flags = segment_path(self.folder, start), os.O_WRONLY
        if new:
            flags |= os.O_CREAT | os.O_EXCL
        try:
            return self._share(open_regular(path, flags), new=new)
        except FileNotFoundError:
            if not new:
                raise
            # Made with the first bytes only: many tasks print nothing.
            self.folder.mkdir(mode=0o700)
        except FileExistsError:
            remove_file(path)  # put there by the task
        return self._share(open_regular(path, flags), new=new)

    def _share(self, fd: int, *, new: bool) -> int:
        """Let the group of the log read a new segment; return its descriptor. Raises `OSError`."""
        if new and self._group >= 0:
            try:
                os.fchown(fd, -1, self._group)
                os.fchmod(fd, 0o640)
            except BaseException:
                os.close(fd)
                raise
        return fd

    def _publish(self) -> None:
        self.state = LogState(
            tuple(segment.start for segment in self._segments),
            self._size,
            self._held,
            self._missing.ranges,
            self._missing.lost + len(self._held),
        )


@dataclass(frozen=True, slots=True)
class LiveReader:
    """A `LogReader` in the writer's process: it also returns bytes that are held in memory."""

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
            # A jump is real only if nothing was dropped or stored while the disk was read.
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


def open_writer(
    folder: Path, *, quota: int, segment: int, held: int, group: int = -1
) -> SegmentWriter:
    """Return the writer of the log in `folder`; it continues a log that exists. Raises OSError.

    The folder, but not its parents, is made when the first bytes arrive. Sizes are in bytes: `quota`
    of the whole log, `segment` of one segment at most, `held` of the memory for refused bytes.
    `group` may read its files: plugins of another user's task (`plugins.host`) are of that group.
    """
    listing = list_folder(folder)
    segments = []
    for start in listing.starts:
        with contextlib.suppress(FileNotFoundError):  # the task may remove files here
            segments.append(_Segment(start, segment_size(folder, start)))
    # A writer that was killed may have begun drops: empty their notes, remove what they dropped.
    dropped = [each for each in listing.ranges if each.kind == DROPPED]
    for each in dropped:
        with contextlib.suppress(OSError):  # as above, or no regular file
            empty_note(folder, each)
    if dropped:
        for path in folder.glob("*.log"):
            if path.stem.isdecimal() and any(g.start <= int(path.stem) < g.end for g in dropped):
                with contextlib.suppress(OSError):  # a folder that the task has put there
                    path.unlink()
    return SegmentWriter(
        folder,
        segments,
        MissingRanges(folder, listing.ranges),
        quota=quota,
        segment=segment,
        held=held,
        group=group,
    )
