"""RV's rvio: ``Writing frame 12 (45.00% done)``."""

from __future__ import annotations

from parsers.parser import RuleParser, rule, task_percent

__all__ = ("rvio",)


class rvio(RuleParser):
    """Percents of the whole movie or sequence."""

    rules = (
        rule(
            "riting frame ",
            r"[Ww]riting frame -?\d+ \((\d+(?:\.\d+)?) *% done",
            task_percent,
        ),
    )
