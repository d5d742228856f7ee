"""YafRay (to 0.0.9): ``Render pass: [#############]``, one mark at a time, 13 in total."""

from __future__ import annotations

from parsers._marked_errors import MARKED_ERRORS
from parsers._messages import Messages
from parsers._render_failures import RENDER_FAILURES
from parsers.parser import Rule, RuleParser, frame_share, rule

__all__ = ("yafray",)

_MARKS = 13


def _bar(parser: RuleParser, groups: tuple[str, ...]) -> float:
    return 100 * len(groups[0]) / _MARKS


class yafray(RuleParser):
    """Percents by the marks, also of an unfinished line."""

    messages: tuple[Messages, ...] = (
        MARKED_ERRORS,
        RENDER_FAILURES,
    )
    tail = True

    rules: tuple[Rule, ...] = (rule("Render pass: [", r"Render pass: \[(#+)", frame_share(_bar)),)

    def read_tail(self, tail: str) -> None:
        """Read the marks of an unfinished line: the whole line will have no fewer."""
        for one in yafray.rules:
            for found in one.pattern.finditer(tail):
                self.grow_frame(_bar(self, (found.group(1),)))
