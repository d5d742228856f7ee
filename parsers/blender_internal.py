"""Blender's internal engine: the same as `blender_render`."""

from __future__ import annotations

from parsers.blender_render import blender_render

__all__ = ("blender_internal",)


class blender_internal(blender_render):
    """`blender_render` under the name that the service `blender_internal` uses."""
