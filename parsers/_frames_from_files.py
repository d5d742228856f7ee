"""Frames by the numbers in the names of files, for programs that tell no more than what they write."""

from __future__ import annotations

import re

from parsers._passes import frame_finished
from parsers.parser import Found, RuleParser

__all__ = ("file_written", "frame_number")

_NUMBER = re.compile(r"(-?\d{1,9})(?:\.[A-Za-z]\w*)*$")


def frame_number(name: str) -> str | None:
    """The number that tells a file from others of its sequence; None for a movie or a single one.

    Of ``left.0012.exr`` and ``right.0012.exr`` it is the same: they are of one frame.
    """
    found = _NUMBER.search(name)
    return found.group(1).lstrip("-0") or "0" if found else None


def file_written(parser: RuleParser, found: Found) -> None:
    """A file was written, its name is the last group that has matched: so its frame is done."""
    name = found.group(found.lastindex or 0).strip()
    parser.appendFile(name)
    number = frame_number(name)
    if number is None or number != parser.marked:
        parser.marked = number
        frame_finished(parser, found)
