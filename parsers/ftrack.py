"""Publishing to ftrack: its scripts print only ``FTRACK ERROR``."""

from __future__ import annotations

from parsers.parser import RuleParser

__all__ = ("ftrack",)


class ftrack(RuleParser):
    """Whether publishing failed."""

    errors = ("FTRACK ERROR",)
