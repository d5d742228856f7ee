"""Publishing to ftrack: ``FTRACK ERROR`` is all that its scripts tell."""

from __future__ import annotations

from parsers.parser import RuleParser

__all__ = ("ftrack",)


class ftrack(RuleParser):
    """Whether publishing failed."""

    errors = ("FTRACK ERROR",)
