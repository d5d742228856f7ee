"""Arnold in Maya (MtoA)."""

from __future__ import annotations

from parsers._arnold import ArnoldParser
from parsers._inside import FRAME_SKIPPED
from parsers.maya import maya

__all__ = ("maya_arnold",)


class maya_arnold(maya, ArnoldParser):
    """Arnold's progress and memory, the errors of both."""

    rules = (
        *(one for one in maya.rules if one.token == "nitializing at frame "),  # noqa: S105 - no secret
        FRAME_SKIPPED,
        *ArnoldParser.rules,
    )
