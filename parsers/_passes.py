r"""Percents that start again with each frame.

A renderer of several frames goes from 0 to 100 % in each, and some renderers do not report that
another frame begins: then the first percent below 100 after a complete frame begins it.

    rules = pass_rules("% done", r"(\d+)% done", "100% done", "100% done")
"""

from __future__ import annotations

from parsers.parser import Found, Rule, RuleParser, frame_share, progress_only, rule

__all__ = ("PassParser", "frame_finished", "pass_end", "pass_rules")


class PassParser(RuleParser):
    """A table that may contain `pass_rules`. Other rules for frames take precedence over these."""

    pass_done = False
    """Whether the current frame is complete, so that the next percent belongs to another frame."""

    @progress_only
    def next_frame(self) -> None:
        self.pass_done = False
        super().next_frame()

    @progress_only
    def begin_pass(self) -> None:
        """Begin another frame if the current one is complete."""
        if self.pass_done or self.aborted:
            self.begin_frame()

    @progress_only
    def end_pass(self) -> None:
        """Mark the current frame as complete; doing so again changes nothing."""
        self.grow_frame(100)
        self.pass_done = not self.aborted


def pass_rules(token: str, percent: str, end_token: str, end: str) -> tuple[Rule, Rule]:
    """Make a rule for percents of a frame, and one for the line of a complete frame.

    Every text that `percent` matches at 100 must be matched by `end` too: only that rule recognizes
    where a frame ends.
    """
    return rule(token, percent, frame_share(_share)), rule(end_token, end, pass_end)


def _share(parser: PassParser, groups: tuple[str, ...]) -> float:
    percent = float(groups[0])
    if parser.pass_done and percent < 100:
        parser.begin_pass()
    return percent


@progress_only
def pass_end(parser: PassParser, found: Found) -> None:
    """The current frame is complete, but only the next percent counts it."""
    if not parser.pass_done:
        parser.end_pass()


@progress_only
def frame_finished(parser: RuleParser, found: Found | None) -> None:
    """A frame was finished or skipped; in a task of one frame the task is done."""
    parser.next_frame()
    if parser.numframes == 1:
        parser.grow_frame(100)
