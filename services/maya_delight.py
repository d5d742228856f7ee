"""Maya with 3Delight as the renderer."""

from __future__ import annotations

from services import service

__all__ = ("maya_delight",)

parser = "maya_delight"


class maya_delight(service.service):
    """The base class as it is."""
