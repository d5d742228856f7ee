"""Simulations of FumeFX in Maya: ``FumeFX: Frame: 12``."""

from __future__ import annotations

from parsers.maya import maya
from parsers.parser import new_frame, rule

__all__ = ("mayafumefx",)


class mayafumefx(maya):
    """Frames by ``FumeFX: Frame: N``, and Maya's errors."""

    rules = (rule("FumeFX: Frame: ", r"FumeFX: Frame: (-?\d+)", new_frame),)
    errors = ("Error: FumeFX is not authorized",)
