"""3Delight in Maya. It reports frames as it exports them, and no percents."""

from __future__ import annotations

from parsers._messages import Messages, like
from parsers.maya import maya
from parsers.parser import new_frame, rule

__all__ = ("maya_delight",)


class maya_delight(maya):
    """Frames by ``Frame N: caching geometry:``, and Maya's errors."""

    rules = (rule(": caching geometry:", r"Frame +(-?\d+): caching geometry:", new_frame),)
    messages = (Messages(fatal=(like("error", r"\b3DL (?:SEVERE )?ERROR\b"),)),)
