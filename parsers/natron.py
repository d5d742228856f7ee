r"""Natron's renderer, version 1 and 2.

    Write1 ==> Frame: 12, Progress: 60.0%, 14.2 Fps, Time Remaining: 3 seconds

Several frames are rendered at a time, so they are reported in any order, and once for each writer.
"""

from __future__ import annotations

from parsers._compositing_messages import NATRON
from parsers._passes import frame_finished
from parsers.nuke import VIEW
from parsers.parser import Found, Rule, RuleParser, rule

__all__ = ("natron",)


def _rendered(parser: natron, found: Found) -> None:
    """Count a frame once. Names beyond the number of frames are not stored, to bound the memory."""
    if found.group(1) not in parser.rendered and parser.frame < max(1, parser.numframes):
        parser.rendered.add(found.group(1))
        frame_finished(parser, found)


class natron(RuleParser):
    """Frames by the numbers or names of those rendered; views."""

    rules: tuple[Rule, ...] = (
        VIEW,
        rule(" ==> Frame: ", r" ==> Frame: (-?\d+)\b", _rendered),
        rule("Frame rendered: ", r"Frame rendered: *(\S+)", _rendered),
    )
    messages = NATRON
    tells_frames = True

    def __init__(self) -> None:
        super().__init__()
        self.rendered: set[str] = set()
        """Numbers or names of the frames that are done."""
