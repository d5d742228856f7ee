"""YafRay as Blender's engine (2.4)."""

from __future__ import annotations

from parsers.blender import blender
from parsers.yafray import yafray

__all__ = ("blender_yafray",)


class blender_yafray(blender, yafray):
    """Blender's frames and files, YafRay's percents."""

    rules = (*yafray.rules, *blender.rules)
