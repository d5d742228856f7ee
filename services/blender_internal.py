"""Blender with its internal engine (to 2.7)."""

from __future__ import annotations

from services import service

__all__ = ("blender_internal",)

parser = "blender_internal"


class blender_internal(service.service):
    """The base class as it is."""
