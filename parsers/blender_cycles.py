"""Blender's Cycles: the same as `blender`, which reads all engines."""

from __future__ import annotations

from parsers.blender import blender

__all__ = ("blender_cycles",)


class blender_cycles(blender):
    """The name that jobs for Cycles ask for."""
