"""Publishing to Shotgun (Flow Production Tracking): its scripts print only ``SHOTGUN ERROR``."""

from __future__ import annotations

from parsers.parser import RuleParser

__all__ = ("shotgun",)


class shotgun(RuleParser):
    """Whether publishing failed."""

    errors = ("SHOTGUN ERROR",)
