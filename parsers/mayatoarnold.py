"""Export of Arnold scenes (.ass) from Maya."""

from __future__ import annotations

from parsers._passes import frame_finished
from parsers.arnold import arnold
from parsers.maya import maya
from parsers.parser import rule

__all__ = ("mayatoarnold",)


class mayatoarnold(maya, arnold):
    """Frames by the scenes that are written; the errors of both."""

    rules = (rule("writing scene to", r"writing scene to", frame_finished),)
