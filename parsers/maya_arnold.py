"""Arnold in Maya (MtoA)."""

from __future__ import annotations

from parsers._arnold import MTOA_FRAME, ArnoldParser
from parsers._inside import FRAME_SKIPPED
from parsers.maya import maya

__all__ = ("maya_arnold",)


class maya_arnold(maya, ArnoldParser):
    """Arnold's progress and memory, the errors of both."""

    rules = (MTOA_FRAME, FRAME_SKIPPED, *ArnoldParser.rules)
