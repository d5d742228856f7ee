"""Karma inside Houdini."""

from __future__ import annotations

from parsers.hbatch import hbatch
from parsers.karma import karma

__all__ = ("hbatch_karma",)


class hbatch_karma(hbatch, karma):
    """Houdini's frames, Karma's progress, files and memory, errors and warnings of both."""

    rules = tuple(dict.fromkeys((*karma.rules, *hbatch.rules)))
    errors = karma.errors
    warnings = karma.warnings
