"""Maya with Arnold as the renderer."""

from __future__ import annotations

from services import service

__all__ = ("maya_arnold",)

parser = "maya_arnold"


class maya_arnold(service.service):
    """The base class as it is."""
