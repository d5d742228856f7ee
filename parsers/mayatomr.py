"""Export of mental ray scenes from Maya, by a script that prints the texts of `generic`."""

from __future__ import annotations

from parsers._mentalray import MENTAL_RAY
from parsers.generic import generic
from parsers.parser import RuleParser

__all__ = ("mayatomr",)


class mayatomr(RuleParser):
    """``FRAME: N`` and ``PROGRESS: N%``."""

    rules = generic.rules
    messages = (MENTAL_RAY,)
