"""Arnold inside Houdini (HtoA), and export of Arnold scenes."""

from __future__ import annotations

from parsers.arnold import arnold
from parsers.hbatch import hbatch

__all__ = ("houdinitoarnold",)


class houdinitoarnold(hbatch, arnold):
    """Houdini's frames, Arnold's progress, files and memory, errors and warnings of both."""

    rules = (*arnold.rules, *hbatch.rules)
    errors = (*hbatch.errors, *arnold.errors)
    warnings = (*hbatch.warnings, *arnold.warnings)
