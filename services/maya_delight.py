"""Maya that has 3Delight render."""

from __future__ import annotations

from services import service

__all__ = ("maya_delight",)

parser = "maya_delight"


class maya_delight(service.service):
    """The base class as it is."""
