"""What Softimage's batch renderer prints around a renderer's output; last version 2015."""

from __future__ import annotations

from parsers._messages import START, Messages, like
from parsers._passes import frame_finished
from parsers._render_failures import RENDER_FAILURES
from parsers.parser import Found, Rule, RuleParser, new_frame, rule, say

__all__ = ("SOFTIMAGE", "XsiParser")

SOFTIMAGE = Messages(words=("error",), markers=(like("error", rf"{START}[#'/ ]*ERROR ?: "),))
"""Source: Softimage's help, "xsibatch": ``' ERROR : 2000 - text``, beside INFO, WARNING and VERBOSE."""


def _begin(parser: XsiParser, found: Found) -> None:
    new_frame(parser, found)
    parser.activity = "loading.." if parser.percentframe == 0 else parser.stage()


def _complete(parser: XsiParser, found: Found) -> None:
    while parser.frame < parser.numframes and not parser.aborted:
        frame_finished(parser, found)
    if not parser.aborted:
        parser.activity = "finalizing.."


class XsiParser(RuleParser):
    """Frames and activities; subclasses add percents."""

    working = "rendering.."
    """The activity during a frame."""

    frame_rules: tuple[Rule, ...] = (
        rule(": Rendering frame ", r": Rendering frame +(-?\d+)", _begin),
        rule("Render completed ", r"Render completed ", _complete),
    )
    skip_rules: tuple[Rule, ...] = ()
    messages: tuple[Messages, ...] = (SOFTIMAGE, RENDER_FAILURES)

    def stage(self) -> str:
        """Return the activity for the percents of the current frame."""
        return self.working if self.percentframe < 99 else "finalizing.."

    def grow_frame(self, percent: float) -> None:
        super().grow_frame(percent)
        self.activity = self.stage()


def skipped(token: str, pattern: str) -> tuple[Rule, Rule]:
    """Make rules for frames that are skipped because their files exist."""
    return rule(token, pattern, frame_finished), rule(token, pattern, say("skipping frames.."))
