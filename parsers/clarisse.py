"""Isotropix Clarisse's cnode, to Clarisse 5 (2023, the last)."""

from __future__ import annotations

from parsers._marked_errors import MARKED_ERRORS
from parsers._passes import frame_finished
from parsers._render_failures import RENDER_FAILURES
from parsers.parser import RuleParser, frame_percent, image, rule

__all__ = ("clarisse",)


class clarisse(RuleParser):
    """Percents of each image; an image that is saved is a frame."""

    tells_frames = True
    messages = (MARKED_ERRORS, RENDER_FAILURES)
    rules = (
        rule("Progress for ", r"Progress for .{0,1000}: *(\d+(?:\.\d+)?) *%", frame_percent),
        rule("Saving Image:", r"Saving Image:", frame_finished),
        rule("File '", r"\bFile '(.+?)'", image),
    )
