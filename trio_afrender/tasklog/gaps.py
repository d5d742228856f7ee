"""Byte ranges missing from a log, dropped under quota or refused by the disk.

They are kept exactly in memory, so that the numbers for any part of a log are right, and, merged, as
names of empty files in the log folder ("notes"): even the log of a run that printed a terabyte has
few of them.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from trio_afrender.safe_files import open_regular, remove_file, replace_file
from trio_afrender.tasklog.segments import (
    DROPPED,
    EXCHANGED,
    LOST,
    MissingRange,
    count_lines,
    empty_note,
    note_path,
    segment_path,
)

__all__ = ("MissingRanges",)

_MAX_RANGES = 512


class MissingRanges:
    """The missing ranges of one log. Used by its writer only; any thread may read `ranges`."""

    def __init__(self, folder: Path, ranges: tuple[MissingRange, ...] = ()) -> None:
        self.ranges: tuple[MissingRange, ...] = ranges
        """Ascending; replaced as a whole."""
        self.lost: int = sum(each.end - each.start for each in ranges if each.kind == LOST)
        """Bytes that could not be stored."""
        self._folder = folder
        self._dropped_note = _last(ranges, DROPPED)
        self._lost_note = _last(ranges, LOST)

    def drop(self, start: int, end: int) -> None:
        """Remove the segment at `start` after counting its lines. Raises OSError, with nothing done."""
        path = segment_path(self._folder, start)
        missing = MissingRange(start, end, 0, DROPPED)
        exchanged = False
        try:
            missing = MissingRange(start, end, count_lines(path), DROPPED)
        except OSError as error:
            # The task, or a user, has removed or exchanged it, or removed the whole folder.
            exchanged = error.errno in EXCHANGED
            # EIO: a fault of the disk in this segment. Kept, no other one would ever be written.
            if not exchanged and error.errno != errno.EIO:
                raise
        if not exchanged:
            try:
                self._note_drop(path, missing)
            except FileNotFoundError:  # just now
                missing = MissingRange(start, end, 0, DROPPED)
        ranges = sorted((*self.ranges, missing), key=lambda each: each.start)
        self.ranges = _coarsen(tuple(ranges))

    def _note_drop(self, path: Path, missing: MissingRange) -> None:
        """Remove the segment `path` and note that; no reader sees a moment without one of the two."""
        note = self._dropped_note
        if note is not None and note.end == missing.start:
            whole = _joined(note, missing)
            # The moment of the change: from this rename on, readers ignore the segment
            # (`list_folder`), whether or not it can be deleted. The task may have removed the note.
            with contextlib.suppress(FileNotFoundError):
                replace_file(note_path(self._folder, note), note_path(self._folder, whole))
                self._dropped_note = whole
                with contextlib.suppress(OSError):
                    remove_file(path)
                return
        # There is no note to extend: the segment itself becomes the note, and is emptied then.
        replace_file(path, note_path(self._folder, missing))
        self._dropped_note = missing
        with contextlib.suppress(OSError):
            empty_note(self._folder, missing)

    def lose(self, start: int, data: bytes) -> None:
        """Count bytes that are not stored and never will be. Raises nothing: the disk is full or broken."""
        self._lose(MissingRange(start, start + len(data), data.count(b"\n"), LOST))

    def lose_segment(self, start: int, end: int) -> None:
        """Count the newest segment as lost: it was removed or exchanged, its lines are not known."""
        self._lose(MissingRange(start, end, 0, LOST))

    def _lose(self, missing: MissingRange) -> None:
        self.lost += missing.end - missing.start
        # They are newer than all that is stored or missing, so only the last range can touch them.
        if self.ranges and _touch(self.ranges[-1], missing):
            self.ranges = (*self.ranges[:-1], _joined(self.ranges[-1], missing))
        else:
            self.ranges = _coarsen((*self.ranges, missing))
        self.note_loss()

    def note_loss(self, held_start: int = 0, held: bytes = b"") -> None:
        """Note the last loss in the folder, and bytes held in memory that are lost with this process.

        A full disk may refuse even an empty file; then the next call tries again.
        """
        last = _last(self.ranges, LOST)
        if held:
            rest = MissingRange(held_start, held_start + len(held), held.count(b"\n"), LOST)
            last = _joined(last, rest) if last is not None and _touch(last, rest) else rest
        if last is None or last == self._lost_note:
            return
        path = note_path(self._folder, last)
        with contextlib.suppress(OSError):
            # A loss that continues keeps its note, so a full disk does not get a file for each write.
            if self._lost_note is not None and self._lost_note.start == last.start:
                with contextlib.suppress(FileNotFoundError):  # the task has removed it
                    replace_file(note_path(self._folder, self._lost_note), path)
                    self._lost_note = last
                    return
            os.close(open_regular(path, os.O_WRONLY | os.O_CREAT))
            self._lost_note = last


def _last(ranges: tuple[MissingRange, ...], kind: str) -> MissingRange | None:
    return next((each for each in reversed(ranges) if each.kind == kind), None)


def _touch(first: MissingRange, second: MissingRange) -> bool:
    return (first.end, first.kind) == (second.start, second.kind)


def _joined(first: MissingRange, second: MissingRange) -> MissingRange:
    return MissingRange(first.start, second.end, first.lines + second.lines, first.kind)


def _coarsen(ranges: tuple[MissingRange, ...]) -> tuple[MissingRange, ...]:
    """Join neighbours in pairs if there are more than `_MAX_RANGES`: a long run needs bounded memory."""
    if len(ranges) <= _MAX_RANGES:
        return ranges
    merged: list[MissingRange] = []
    joined = False  # whether the last one is a pair already
    for each in ranges:
        if merged and not joined and _touch(merged[-1], each):
            merged[-1], joined = _joined(merged[-1], each), True
        else:
            merged.append(each)
            joined = False
    return tuple(merged)
