"""RenderMan inside Houdini."""

from __future__ import annotations

from parsers.hbatch import hbatch
from parsers.prman import prman

__all__ = ("hbatch_prman",)


class hbatch_prman(hbatch, prman):
    """Houdini's frames, RenderMan's percents of each, and errors of both."""

    rules = tuple(dict.fromkeys((*prman.rules, *hbatch.rules)))
