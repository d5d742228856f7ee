"""REDline: a number from 0 to 1 after a word, as in ``Export Job frame complete 0.25``.

No log of a current version was available.
"""

from __future__ import annotations

from parsers._marked_errors import MARKED_ERRORS
from parsers.parser import RuleParser, rule, task_share

__all__ = ("redline",)


def _share(parser: RuleParser, groups: tuple[str, ...]) -> float:
    return 100 * float(groups[0])


class redline(RuleParser):
    """Percents of the clip."""

    messages = (MARKED_ERRORS,)
    rules = (
        rule(" 0.", r"\w +(0\.\d+)(?![\d.])", task_share(_share)),
        rule(" 1.0", r"\w +(1\.0+)(?![\d.])", task_share(_share)),
    )
