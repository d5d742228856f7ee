"""3Delight in Maya. It tells frames as it exports them, nothing of how much of one is done."""

from __future__ import annotations

from parsers.maya import maya
from parsers.parser import new_frame, rule

__all__ = ("maya_delight",)


class maya_delight(maya):
    """A frame each ``Frame N: caching geometry:``, Maya's errors."""

    rules = (rule(": caching geometry:", r"Frame +(-?\d+): caching geometry:", new_frame),)
