"""RV's rvio: ``Writing frame 12 (45.00% done)``."""

from __future__ import annotations

from parsers._marked_errors import MARKED_ERRORS
from parsers.parser import RuleParser, rule, task_percent

__all__ = ("rvio",)


class rvio(RuleParser):
    """Percents of the whole movie or sequence."""

    messages = (MARKED_ERRORS,)
    rules = (
        rule(
            "riting frame ",
            r"[Ww]riting frame -?\d+ \((\d+(?:\.\d+)?) *% done",
            task_percent,
        ),
    )
