"""Export of Arnold scenes from Houdini."""

from __future__ import annotations

from services import service

__all__ = ("houdinitoarnold",)

parser = "houdinitoarnold"


class houdinitoarnold(service.service):
    """The base class as it is."""
