"""Arnold inside Houdini (HtoA), and export of Arnold scenes."""

from __future__ import annotations

from parsers.arnold import arnold
from parsers.hbatch import hbatch

__all__ = ("houdinitoarnold",)


class houdinitoarnold(hbatch, arnold):
    """Houdini's frames, Arnold's progress, files and memory, errors and warnings of both."""

    rules = tuple(dict.fromkeys((*arnold.rules, *hbatch.rules)))
