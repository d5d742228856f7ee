"""Mantra inside Houdini."""

from __future__ import annotations

from parsers.hbatch import hbatch
from parsers.mantra import mantra

__all__ = ("hbatch_mantra",)


class hbatch_mantra(hbatch, mantra):
    """Houdini's frames, Mantra's progress, files and memory, errors and warnings of both."""

    rules = tuple(dict.fromkeys((*mantra.rules, *hbatch.rules)))
    errors = mantra.errors
    warnings = mantra.warnings
