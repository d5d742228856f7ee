"""Blender."""

from __future__ import annotations

from services import service

__all__ = ("blender",)

parser = "blender"


class blender(service.service):
    """The base class as it is."""
