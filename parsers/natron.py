r"""Natron's renderer, version 1 and 2.

    Write1 ==> Frame: 12, Progress: 60.0%, 14.2 Fps, Time Remaining: 3 seconds

Several frames are rendered at a time, so they are reported in any order, and once for each writer.
``Write1 ==> Rendering started`` tells how many writers there are.
"""

from __future__ import annotations

import re

from parsers._compositing_messages import NATRON
from parsers._passes import frame_finished
from parsers._text import text_of
from parsers.nuke import VIEW
from parsers.parser import Found, Rule, RuleParser, rule

__all__ = ("natron",)


_INTERPRETS = re.compile(r"(?i:natron)\S*\s(?:.*\s)?(?:-t|--interpreter)(?:\s|$)")
_MAX_WRITERS = 1000


def _started(parser: natron, found: Found) -> None:
    """A writer begins. The number is bounded, as is the memory."""
    if len(parser.writers) < _MAX_WRITERS:
        parser.writers.add(found.group(1))


def _rendered(parser: natron, found: Found) -> None:
    """Count a frame once, but the last one only when each writer has reported all frames.

    Names beyond the number of frames are not stored, to bound the memory.
    """
    if parser.is_complete:
        return
    parser.reports += 1
    frames = max(1, parser.numframes)
    name = found.group(1)
    if name not in parser.rendered and len(parser.rendered) < frames:
        parser.rendered.add(name)
        if len(parser.rendered) < frames:
            frame_finished(parser, found)
    if len(parser.rendered) == frames and parser.reports >= frames * max(1, len(parser.writers)):
        parser.finish_last()


class natron(RuleParser):
    """Frames by the numbers or names of those rendered; views."""

    rules: tuple[Rule, ...] = (
        VIEW,
        rule(" ==> Rendering started", r"^(.*) ==> Rendering started", _started),
        rule(" ==> Frame: ", r" ==> Frame: (-?\d+)\b", _rendered),
        rule("Frame rendered: ", r"Frame rendered: *(\S+)", _rendered),
    )
    messages = NATRON
    tells_frames = True

    def __init__(self) -> None:
        super().__init__()
        self.rendered: set[str] = set()
        """Numbers or names of the frames that are done."""
        self.writers: set[str] = set()
        self.reports = 0
        """Frames that were reported, by all writers together."""
        self.is_complete = False
        """Whether the last frame is counted."""

    def expects_frames(self) -> bool:
        """An interpreter of commands, ``-t``, may render nothing."""
        return _INTERPRETS.search(text_of(self.taskInfo.get("command"))) is None

    def finish_last(self) -> None:
        """Count the last frame."""
        if not self.is_complete:
            self.is_complete = True
            frame_finished(self, None)

    def finish(self, mode: str) -> None:
        """At the end of good work no further writer reports the last frame."""
        super().finish(mode)
        if mode == "0:0" and not self.is_bad() and len(self.rendered) == max(1, self.numframes):
            self.finish_last()
