"""Blender's Cycles: the same as `blender`, which reads the output of all engines."""

from __future__ import annotations

from parsers.blender import blender

__all__ = ("blender_cycles",)


class blender_cycles(blender):
    """`blender` under the name that jobs for Cycles use."""
