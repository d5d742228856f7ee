"""Frames by the numbers in file names, for programs that report only the files they write."""

from __future__ import annotations

import re

from parsers._passes import frame_finished
from parsers.parser import Found, RuleParser

__all__ = ("file_written", "frame_number")

_NUMBER = re.compile(r"(-?\d{1,9})(?:\.[A-Za-z]\w*)*$")


def frame_number(name: str) -> str | None:
    """Return the number that distinguishes a file of a sequence; None for a name without a number.

    ``left.0012.exr`` and ``right.0012.exr`` have the same number: they are files of one frame.
    """
    found = _NUMBER.search(name)
    return found.group(1).lstrip("-0") or "0" if found else None


def file_written(parser: RuleParser, found: Found) -> None:
    """A file was written, so its frame is done. Its name is the last group that matched."""
    name = found.group(found.lastindex or 0).strip()
    parser.appendFile(name)
    number = frame_number(name)
    if number is None or number != parser.frame_name:
        parser.frame_name = number
        frame_finished(parser, found)
