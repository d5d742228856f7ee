"""Joining the tiles of an image."""

from __future__ import annotations

from services import service

__all__ = ("tiles_stitch",)

parser = "generic"


class tiles_stitch(service.service):
    """The base class as it is."""
