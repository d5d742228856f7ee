"""Keeps count of what a log no longer holds, in memory and in the names of its folder.

In memory the ranges are fine, so that questions about a part of a log have exact answers; in
the folder neighbours are merged into one note, so that a run of a terabyte has a few of them.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from trio_afrender.tasklog.segments import (
    DROPPED,
    LOST,
    MissingRange,
    count_lines,
    note_path,
    segment_path,
)

__all__ = ("MissingRanges",)

_MAX_RANGES = 512


class MissingRanges:
    """What is gone from one log. Used by its writer alone; `ranges` may be read from any thread."""

    def __init__(self, folder: Path, ranges: tuple[MissingRange, ...] = ()) -> None:
        self.ranges = ranges
        """Ascending; replaced as a whole."""
        self.lost = sum(gone.end - gone.start for gone in ranges if gone.kind == LOST)
        """Bytes that could not be stored."""
        self._folder = folder
        self._dropped_note = _last(ranges, DROPPED)
        self._lost_note = _last(ranges, LOST)

    def drop(self, start: int, end: int) -> None:
        """Take away the segment at `start`, after counting it. Raises OSError, with nothing done."""
        path = segment_path(self._folder, start)
        try:
            gone = MissingRange(start, end, count_lines(path), DROPPED)
            self._note_drop(path, gone)
        except FileNotFoundError:  # somebody took it, or the whole folder, before us
            gone = MissingRange(start, end, 0, DROPPED)
        self.ranges = _coarsen(tuple(sorted((*self.ranges, gone), key=lambda g: g.start)))

    def _note_drop(self, path: Path, gone: MissingRange) -> None:
        note = self._dropped_note
        if note is not None and note.end == gone.start:
            whole = MissingRange(note.start, gone.end, note.lines + gone.lines, DROPPED)
            # From this rename on the segment counts as gone: readers skip it (`list_folder`).
            note_path(self._folder, note).rename(note_path(self._folder, whole))
            self._dropped_note = whole
            with contextlib.suppress(OSError):
                path.unlink()
            return
        # The first of its kind becomes the note itself: no moment without one of the two.
        path.rename(note_path(self._folder, gone))
        self._dropped_note = gone
        with contextlib.suppress(OSError):
            os.truncate(note_path(self._folder, gone), 0)

    def lose(self, start: int, data: bytes) -> None:
        """Count bytes that nobody will see. Never raises: the disk is full or broken anyway."""
        gone = MissingRange(start, start + len(data), data.count(b"\n"), LOST)
        self.lost += len(data)
        if self.ranges and _touch(self.ranges[-1], gone):
            self.ranges = (*self.ranges[:-1], _joined(self.ranges[-1], gone))
        else:
            self.ranges = _coarsen((*self.ranges, gone))
        self.note_loss()

    def note_loss(self, held_start: int = 0, held: bytes = b"") -> None:
        """Write the last loss down in the folder, with bytes held in memory that go with us.

        A full disk may refuse even that; the next call tries again.
        """
        last = _last(self.ranges, LOST)
        if held:
            rest = MissingRange(held_start, held_start + len(held), held.count(b"\n"), LOST)
            last = _joined(last, rest) if last is not None and _touch(last, rest) else rest
        if last is None or last == self._lost_note:
            return
        path = note_path(self._folder, last)
        with contextlib.suppress(OSError):
            if self._lost_note is not None and self._lost_note.start == last.start:
                note_path(self._folder, self._lost_note).rename(path)
            else:
                path.touch(mode=0o600)
            self._lost_note = last


def _last(ranges: tuple[MissingRange, ...], kind: str) -> MissingRange | None:
    return next((gone for gone in reversed(ranges) if gone.kind == kind), None)


def _touch(first: MissingRange, second: MissingRange) -> bool:
    return (first.end, first.kind) == (second.start, second.kind)


def _joined(first: MissingRange, second: MissingRange) -> MissingRange:
    return MissingRange(first.start, second.end, first.lines + second.lines, first.kind)


def _coarsen(ranges: tuple[MissingRange, ...]) -> tuple[MissingRange, ...]:
    """Merge neighbours pair by pair once there are too many: memory stays flat for ever."""
    if len(ranges) <= _MAX_RANGES:
        return ranges
    merged: list[MissingRange] = []
    whole = False  # whether the last one may not grow any more
    for gone in ranges:
        if merged and not whole and _touch(merged[-1], gone):
            merged[-1], whole = _joined(merged[-1], gone), True
        else:
            merged.append(gone)
            whole = False
    return tuple(merged)
