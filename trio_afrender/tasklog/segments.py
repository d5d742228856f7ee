"""The format of a log folder, and its reader for any thread or process.

The folder is its own index, so no index can contradict it:

    00000000000000000000.log                        the bytes from that offset on
    00000000000016777216-33554432-90210.dropped     empty: a range dropped by the quota, its line feeds
    00000000000050331648-50400000-17.lost           empty: a range that could not be stored

Renaming is atomic, so a reader sees a range either as stored or as missing. A segment inside of a
dropped range is about to be removed and is ignored.
"""

from __future__ import annotations

import bisect
import errno
import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trio_afrender.safe_files import open_regular, read_at
from trio_afrender.tasklog.interfaces import Chunk, Missing

__all__ = (
    "DROPPED",
    "EXCHANGED",
    "LOST",
    "FolderReader",
    "Listing",
    "MissingRange",
    "count_lines",
    "empty_note",
    "list_folder",
    "note_path",
    "open_reader",
    "read_segments",
    "segment_path",
    "segment_size",
    "sum_missing",
)

DROPPED = "dropped"
LOST = "lost"
_SEGMENT = ".log"
_COUNTED_AT_ONCE = 1024 * 1024
_MAX_TRIES = 100
_MAX_OFFSET = 2**62
EXCHANGED = (
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.EISDIR,
    errno.EINVAL,
    errno.ENXIO,
)
"""Errors of opening a segment that a task has removed, or replaced by a link, a folder, a FIFO, ..."""
# EIO: a fault of the disk in one segment must not make the others unreadable.
_UNREADABLE = (*EXCHANGED, errno.EIO)


@dataclass(frozen=True, slots=True)
class MissingRange:
    """Bytes from `start` to `end` that are not in the folder, with `lines` line feeds."""

    start: int
    end: int
    lines: int
    kind: str


@dataclass(frozen=True, slots=True)
class Listing:
    """The contents of a log folder at one moment, by its file names."""

    starts: tuple[int, ...] = ()
    """Start offsets of the segments, ascending."""
    ranges: tuple[MissingRange, ...] = ()


def segment_path(folder: Path, start: int) -> Path:
    """Return the path of the segment that starts at that offset."""
    return folder / f"{start:020d}{_SEGMENT}"


def note_path(folder: Path, missing: MissingRange) -> Path:
    """Return the path of the empty file whose name states a missing range."""
    return folder / f"{missing.start:020d}-{missing.end}-{missing.lines}.{missing.kind}"


def empty_note(folder: Path, missing: MissingRange) -> None:
    """Free the bytes of a note that was a segment before. Raises `OSError`."""
    handle = open_regular(note_path(folder, missing), os.O_WRONLY)
    try:
        os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def segment_size(folder: Path, start: int) -> int:
    """Return the bytes of the segment that starts at that offset; 0 for no regular file.

    Raises `OSError`.
    """
    facts = segment_path(folder, start).lstat()
    return facts.st_size if stat.S_ISREG(facts.st_mode) else 0


def list_folder(folder: Path) -> Listing:
    """Read the names in a log folder. A folder that does not exist (yet) is empty. Raises OSError."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return Listing()
    starts: list[int] = []
    notes: dict[tuple[str, int], MissingRange] = {}
    for name in names:
        stem, _, kind = name.rpartition(".")
        if kind == "log" and (start := _number(stem)) is not None:
            starts.append(start)
        elif kind in (DROPPED, LOST):
            fields = [_number(text) for text in stem.split("-")]
            match fields:
                case [int(begin), int(end), int(lines)]:
                    # A note is extended by renaming it, and a scan that runs meanwhile can return
                    # both names.
                    known = notes.get((kind, begin))
                    if known is None or known.end < end:
                        notes[kind, begin] = MissingRange(begin, end, lines, kind)
    ranges = tuple(sorted(notes.values(), key=lambda note: note.start))
    return Listing(tuple(_without_dropped(sorted(starts), ranges)), ranges)


def _without_dropped(starts: Sequence[int], ranges: Iterable[MissingRange]) -> Iterator[int]:
    """Yield the starts that are in no dropped range. Both are ascending."""
    # In one pass: the task can make as many files of such names as it likes.
    dropped = deque(each for each in ranges if each.kind == DROPPED)
    reach = 0
    for start in starts:
        while dropped and dropped[0].start <= start:
            reach = max(reach, dropped.popleft().end)
        if start >= reach:
            yield start


def _number(text: str) -> int | None:
    """Return the offset or count in a file name; None if it is none."""
    # The task can create files here: digits of other scripts, or numbers no file can have as offset.
    if not (text.isascii() and text.isdecimal()) or int(text) >= _MAX_OFFSET:
        return None
    return int(text)


def read_segments(folder: Path, starts: Sequence[int], offset: int, limit: int) -> Chunk | None:
    """Read from the first of the segments that has bytes at or beyond `offset`; None if none has.

    A segment that has been removed meanwhile, or that the disk cannot read, is skipped like a dropped
    one. Raises OSError for other faults.
    """
    first = max(0, bisect.bisect_right(starts, offset) - 1)
    for start in starts[first:]:
        at = max(offset, start)
        try:
            fd = open_regular(segment_path(folder, start), os.O_RDONLY)
            try:
                data = read_at(fd, limit, at - start)
            finally:
                os.close(fd)
        except OSError as error:
            if error.errno not in _UNREADABLE:
                raise
            continue
        if data:
            return Chunk(at, data)
    return None


def count_lines(path: Path) -> int:
    """Count the line feeds of a file in bounded memory. Raises OSError."""
    lines = 0
    buffer = bytearray(_COUNTED_AT_ONCE)
    with open(open_regular(path, os.O_RDONLY), "rb", buffering=0) as file:  # noqa: PTH123 - a descriptor
        while count := file.readinto(buffer):
            lines += buffer.count(b"\n", 0, count)
    return lines


def sum_missing(ranges: Iterable[MissingRange], before: int) -> Missing:
    """Add up what is missing before an offset. Of a range across it, all lines are counted: where
    they were is not known."""
    counted = [each for each in ranges if each.start < before]
    return Missing(
        sum(min(each.end, before) - each.start for each in counted),
        sum(each.lines for each in counted),
    )


@dataclass(frozen=True, slots=True)
class FolderReader:
    """A `LogReader` that needs only the folder: for other processes, and after the writer's end."""

    folder: Path

    def size(self) -> int:
        for _ in range(_MAX_TRIES):
            listing = list_folder(self.folder)
            noted = max((each.end for each in listing.ranges), default=0)
            if not listing.starts:
                return noted
            last = listing.starts[-1]
            try:
                return max(noted, last + segment_size(self.folder, last))
            except FileNotFoundError:
                continue  # removed by the writer since the listing, so there is a newer one
        return noted

    def read(self, offset: int, limit: int) -> Chunk:
        listing = list_folder(self.folder)
        for _ in range(_MAX_TRIES):
            chunk = read_segments(self.folder, listing.starts, offset, limit)
            if chunk is not None and chunk.offset == offset:
                return chunk
            # The scan of a folder can miss a file that is created meanwhile and return a later one.
            # So a jump, or the end, counts only if a second listing has no segment in between
            # (test_a_reader_in_another_process_sees_only_the_truth).
            again = list_folder(self.folder)
            upto = chunk.offset if chunk else max((*again.starts, offset))
            if _within(again, offset, upto) == _within(listing, offset, upto):
                listing = again
                break
            listing = again
        if chunk is not None:
            return chunk
        return Chunk(max((offset, *(each.end for each in listing.ranges))), b"")

    def missing(self, before: int) -> Missing:
        return sum_missing(list_folder(self.folder).ranges, before)


def _within(listing: Listing, first: int, last: int) -> list[int]:
    return [start for start in listing.starts if first <= start <= last]


def open_reader(folder: Path) -> FolderReader:
    """Return a reader of the log in that folder, also while another process writes it. It keeps no
    file open."""
    return FolderReader(folder)
