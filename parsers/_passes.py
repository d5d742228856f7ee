r"""Percents that start again with each frame.

A renderer that is given several frames goes from 0 to 100 % in each, and not all of them say that
another one begins: then the first percent after a complete frame tells it.

    rules = laps("% done", r"(\d+)% done", "100% done", "100% done")
"""

from __future__ import annotations

from parsers.parser import Found, Rule, RuleParser, frame_share, progress_only, rule

__all__ = ("LapParser", "frame_finished", "lap_end", "laps")


class LapParser(RuleParser):
    """A table that may have `laps`; also one that has other rules for frames, they win."""

    lapped = False
    """Whether the present frame is complete, and what comes next belongs to another one."""

    @progress_only
    def next_frame(self) -> None:
        self.lapped = False
        super().next_frame()

    @progress_only
    def begin_lap(self) -> None:
        """Something of a frame that is not complete was told."""
        if self.lapped:
            self.next_frame()

    @progress_only
    def end_lap(self) -> None:
        """The present frame is complete; told again it is the same frame still."""
        self.grow_frame(100)
        self.lapped = True


def laps(token: str, percent: str, end_token: str, end: str) -> tuple[Rule, Rule]:
    """Rules for percents of a frame, and for what is told once it is complete.

    All that `percent` matches at 100 must be matched by `end` too: only there it is seen where
    one frame ends.
    """
    return rule(token, percent, frame_share(_share)), rule(end_token, end, lap_end)


def _share(parser: LapParser, groups: tuple[str, ...]) -> float:
    percent = float(groups[0])
    if parser.lapped and percent < 100:
        parser.begin_lap()
    return percent


@progress_only
def lap_end(parser: LapParser, found: Found) -> None:
    """The present frame is complete, but only what comes next counts it."""
    if not parser.lapped:
        parser.end_lap()


@progress_only
def frame_finished(parser: RuleParser, found: Found) -> None:
    """A frame was finished or skipped; if there is but one, all is done."""
    parser.next_frame()
    if parser.numframes == 1:
        parser.grow_frame(100)
