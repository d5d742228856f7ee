"""How a run's log lies in its folder, and how anybody reads it: any thread, any process.

The folder is its own index, so that nothing can disagree with it:

    00000000000000000000.log                        the bytes from that offset on
    00000000000016777216-33554432-90210.dropped     empty: a range the quota took, its line feeds
    00000000000050331648-50400000-17.lost           empty: a range that could not be stored

Renaming is atomic, so a reader sees a range as kept or as gone. A segment that lies inside a
dropped range is about to be removed and counts as gone already.
"""

from __future__ import annotations

import bisect
import errno
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trio_afrender.tasklog.interfaces import Chunk, Missing

__all__ = (
    "DROPPED",
    "LOST",
    "FolderReader",
    "Listing",
    "MissingRange",
    "count_lines",
    "list_folder",
    "note_path",
    "open_reader",
    "read_segments",
    "segment_path",
    "sum_missing",
)

DROPPED = "dropped"
LOST = "lost"
_SEGMENT = ".log"
_COUNTED_AT_ONCE = 1024 * 1024
_MAX_TRIES = 100
_END_OF_FILES = 2**62
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.EIO)


@dataclass(frozen=True, slots=True)
class MissingRange:
    """Bytes from `start` to `end` that are not in the folder, with `lines` line feeds."""

    start: int
    end: int
    lines: int
    kind: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What a folder's names say at one moment."""

    starts: tuple[int, ...] = ()
    """Start offsets of the segments, ascending."""
    ranges: tuple[MissingRange, ...] = ()


def segment_path(folder: Path, start: int) -> Path:
    """Where the segment lives that starts at that offset."""
    return folder / f"{start:020d}{_SEGMENT}"


def note_path(folder: Path, gone: MissingRange) -> Path:
    """The empty file whose name tells of a range that is gone."""
    return folder / f"{gone.start:020d}-{gone.end}-{gone.lines}.{gone.kind}"


def list_folder(folder: Path) -> Listing:
    """Read the folder's names. A folder that is not there (yet) holds nothing."""
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
        elif kind in (DROPPED, LOST) and (note := _parse_note(stem, kind)):
            # A note grows by being renamed: a scan may meet both names of it.
            known = notes.get((kind, note.start))
            if known is None or known.end < note.end:
                notes[kind, note.start] = note
    ranges = tuple(sorted(notes.values(), key=lambda note: note.start))
    dropped = [note for note in ranges if note.kind == DROPPED]
    kept = (s for s in sorted(starts) if not any(n.start <= s < n.end for n in dropped))
    return Listing(tuple(kept), ranges)


def _parse_note(stem: str, kind: str) -> MissingRange | None:
    fields = stem.split("-")
    if len(fields) != 3:
        return None
    start, end, lines = map(_number, fields)
    if start is None or end is None or lines is None:
        return None
    return MissingRange(start, end, lines, kind)


def _number(text: str) -> int | None:
    """An offset, as we write it; others may put files here, and a file has no larger ones."""
    if not (text.isascii() and text.isdecimal()) or int(text) >= _END_OF_FILES:
        return None
    return int(text)


def read_segments(folder: Path, starts: Sequence[int], offset: int, limit: int) -> Chunk | None:
    """Read from the first of the segments that has bytes at or beyond `offset`.

    None when there are none. A segment that is gone by now, or cannot be read for a fault of
    the disk, is skipped as a dropped one is.
    """
    first = max(0, bisect.bisect_right(starts, offset) - 1)
    for start in starts[first:]:
        at = max(offset, start)
        try:
            fd = os.open(segment_path(folder, start), os.O_RDONLY | os.O_CLOEXEC)
            try:
                data = os.pread(fd, limit, at - start)
            finally:
                os.close(fd)
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise
            continue
        if data:
            return Chunk(at, data)
    return None


def count_lines(path: Path) -> int:
    """Count the line feeds of a file in bounded memory."""
    lines = 0
    buffer = bytearray(_COUNTED_AT_ONCE)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            lines += buffer.count(b"\n", 0, count)
    return lines


def sum_missing(ranges: Iterable[MissingRange], before: int) -> Missing:
    """Add up what stood before an offset; the lines of a range it cuts are counted whole."""
    cut = [gone for gone in ranges if gone.start < before]
    return Missing(
        sum(min(gone.end, before) - gone.start for gone in cut), sum(gone.lines for gone in cut)
    )


@dataclass(frozen=True, slots=True)
class FolderReader:
    """A `LogReader` that knows nothing but the folder: for other processes, and for later."""

    folder: Path

    def size(self) -> int:
        for _ in range(_MAX_TRIES):
            listing = list_folder(self.folder)
            noted = max((gone.end for gone in listing.ranges), default=0)
            if not listing.starts:
                return noted
            last = listing.starts[-1]
            try:
                return max(noted, last + segment_path(self.folder, last).stat().st_size)
            except FileNotFoundError:
                continue  # listed while the writer took it away: there is a newer one
        return noted

    def read(self, offset: int, limit: int) -> Chunk:
        listing = list_folder(self.folder)
        for _ in range(_MAX_TRIES):
            chunk = read_segments(self.folder, listing.starts, offset, limit)
            if chunk is not None and chunk.offset == offset:
                return chunk
            # A scan of a folder may miss a file made while it ran, yet show a later one. So a
            # jump, or an end, counts only when a second listing knows no more segments there.
            again = list_folder(self.folder)
            upto = chunk.offset if chunk else max((*again.starts, offset))
            if _within(again, offset, upto) == _within(listing, offset, upto):
                listing = again
                break
            listing = again
        if chunk is not None:
            return chunk
        return Chunk(max((offset, *(gone.end for gone in listing.ranges))), b"")

    def missing(self, before: int) -> Missing:
        return sum_missing(list_folder(self.folder).ranges, before)

    def lost(self) -> int:
        """Bytes that were printed but could not be stored."""
        ranges = list_folder(self.folder).ranges
        return sum(gone.end - gone.start for gone in ranges if gone.kind == LOST)


def _within(listing: Listing, first: int, last: int) -> list[int]:
    return [start for start in listing.starts if first <= start <= last]


def open_reader(folder: Path) -> FolderReader:
    """Read the log in that folder, also while another process writes it. Holds nothing open."""
    return FolderReader(folder)
