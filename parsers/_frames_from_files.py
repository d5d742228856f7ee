r"""Frames by the numbers in file names, for programs that report the files they write.

A frame may have several files: output nodes, views, passes, denoised twins. They have the frame's
number in common. How many a frame has is known once the next frame begins, so the first frame counts
with its first file, and each later one with as many files as an earlier one had.
"""

from __future__ import annotations

import re

from parsers.parser import Found, RuleParser

__all__ = ("FileParser", "file_written", "frame_number")

_NUMBER = re.compile(r"(-?\d{1,9})(?:\.[A-Za-z]\w*)+$")
_AT_END = re.compile(r"(?:^|[._-])(\d{1,9})$")
_BEFORE_SUFFIX = re.compile(
    r"(?<![\dvV])(-?\d{3,9})[._-][A-Za-z][A-Za-z_-]{0,40}(?:\.[A-Za-z]\w*)+$"
)
_MAX_NAMES = 10_000
"""Numbers of frames that are kept."""


def frame_number(name: str) -> str | None:
    """Return the number that distinguishes a file of a sequence; None for a name without a number.

    ``left.0012.exr``, ``right.0012.exr`` and ``0012_L.exr`` have the same number: they are files of
    one frame.
    """
    found = _NUMBER.search(name) or _AT_END.search(name) or _BEFORE_SUFFIX.search(name)
    return found.group(1).lstrip("-0") or "0" if found else None


class FileParser(RuleParser):
    """A table that may contain `file_written`."""

    def __init__(self) -> None:
        super().__init__()
        self.files_per_frame = 0
        """The greatest number of files that a frame had, of the frames that are over."""
        self._numbers: dict[str, int] = {}
        """Files of each frame, by its number."""
        self._counted: set[str] = set()
        self._last_number: str | None = None

    def count_file(self, name: str) -> None:
        """Count a file, and its frame if it is complete."""
        number = frame_number(name)
        if number is None:
            # A name without a number is a movie or a still: a frame by itself.
            self._count(f"\0{len(self._counted)}")
            return
        if number not in self._numbers and len(self._numbers) >= _MAX_NAMES:
            return
        last, self._last_number = self._last_number, number
        if last is not None and last != number:
            self.files_per_frame = max(self.files_per_frame, self._numbers[last])
            self._count(last)
        self._numbers[number] = self._numbers.get(number, 0) + 1
        if self.numframes > 1 and self._numbers[number] >= self.files_per_frame:
            self._count(number)

    def finish(self, mode: str) -> None:
        """At the end of good work no further file of the last frame is expected."""
        super().finish(mode)
        if mode == "0:0" and not self.is_bad() and self._last_number is not None:
            self._count(self._last_number)

    def _count(self, number: str) -> None:
        if number not in self._counted and len(self._counted) < _MAX_NAMES:
            self._counted.add(number)
            self.complete_frame()

    def complete_frame(self) -> None:
        """Count a frame; in a task of one frame the task is done."""
        self.next_frame()
        if self.numframes == 1:
            self.grow_frame(100)


def file_written(parser: FileParser, found: Found) -> None:
    """A file was written. Its name is the last group that matched."""
    name = found.group(found.lastindex or 0).strip()
    parser.appendFile(name)
    parser.count_file(name)
