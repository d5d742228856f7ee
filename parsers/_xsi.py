"""What Softimage's batch renderer prints around a renderer's output; last version 2015."""

from __future__ import annotations

from parsers._passes import frame_finished
from parsers.parser import Found, Rule, RuleParser, new_frame, rule, say

__all__ = ("XsiParser",)


def _begin(parser: XsiParser, found: Found) -> None:
    new_frame(parser, found)
    parser.activity = "loading.." if parser.percentframe == 0 else parser.stage()


def _complete(parser: XsiParser, found: Found) -> None:
    while parser.frame < parser.numframes:
        frame_finished(parser, found)
    parser.activity = parser.stage()


class XsiParser(RuleParser):
    """Frames and activities; subclasses add percents."""

    working = "rendering.."
    """The activity during a frame."""

    frame_rules: tuple[Rule, ...] = (
        rule(": Rendering frame ", r": Rendering frame +(-?\d+)", _begin),
        rule("Render completed ", r"Render completed ", _complete),
    )
    skip_rules: tuple[Rule, ...] = ()

    def stage(self) -> str:
        """Return the activity for the percents of the current frame."""
        return self.working if self.percentframe < 99 else "finalizing.."

    def grow_frame(self, percent: float) -> None:
        super().grow_frame(percent)
        self.activity = self.stage()


def skipped(token: str, pattern: str) -> tuple[Rule, Rule]:
    """Make rules for frames that are skipped because their files exist."""
    return rule(token, pattern, frame_finished), rule(token, pattern, say("skipping frames.."))
