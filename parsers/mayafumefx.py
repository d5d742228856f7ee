"""Simulations of FumeFX in Maya: ``FumeFX: Frame: 12``."""

from __future__ import annotations

from parsers._rules import new_frame, rule
from parsers.maya import maya

__all__ = ("mayafumefx",)


class mayafumefx(maya):
    """A frame each ``FumeFX: Frame: N``, Maya's errors."""

    rules = (rule("FumeFX: Frame: ", r"FumeFX: Frame: (-?\d+)", new_frame),)
    errors = (*maya.errors, "Error: FumeFX is not authorized")
