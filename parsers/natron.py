r"""Natron's renderer, version 1 and 2.

    Write1 ==> Frame: 12, Progress: 60.0%, 14.2 Fps, Time Remaining: 3 seconds

Frames are rendered several at once, so that they are told in any order, and once for each writer.
"""

from __future__ import annotations

from parsers._passes import frame_finished
from parsers.nuke import LICENCE_ERROR, VIEW
from parsers.parser import Found, Rule, RuleParser, rule

__all__ = ("natron",)


def _rendered(parser: natron, found: Found) -> None:
    """A frame is done. More names than the task has frames are not worth keeping."""
    if found.group(1) not in parser.rendered and parser.frame < max(1, parser.numframes):
        parser.rendered.add(found.group(1))
        frame_finished(parser, found)


class natron(RuleParser):
    """A frame each number or name that is told to be rendered, views."""

    rules: tuple[Rule, ...] = (
        VIEW,
        rule(" ==> Frame: ", r" ==> Frame: (-?\d+)\b", _rendered),
        rule("Frame rendered: ", r"Frame rendered: *(\S+)", _rendered),
        LICENCE_ERROR,
    )
    errors = ("Worker process failed",)

    def __init__(self) -> None:
        super().__init__()
        self.rendered: set[str] = set()
        """Which frames are done."""
