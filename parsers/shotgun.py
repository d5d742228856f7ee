"""Publishing to Shotgun (Flow Production Tracking): ``SHOTGUN ERROR`` is all that its scripts tell."""

from __future__ import annotations

from parsers.parser import RuleParser

__all__ = ("shotgun",)


class shotgun(RuleParser):
    """Whether publishing failed."""

    errors = ("SHOTGUN ERROR",)
