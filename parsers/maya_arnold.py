"""Arnold in Maya (MtoA)."""

from __future__ import annotations

from parsers._arnold import ArnoldParser
from parsers.maya import maya

__all__ = ("maya_arnold",)


class maya_arnold(maya, ArnoldParser):
    """Arnold's progress, Maya's errors and those that make MtoA abort."""

    rules = ArnoldParser.rules
    errors: tuple[str, ...] = (
        *maya.errors,
        "[mtoa] Failed batch render",
        "aborting render because",
    )
