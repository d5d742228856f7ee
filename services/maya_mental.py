"""Maya with mental ray as the renderer."""

from __future__ import annotations

from services import service

__all__ = ("maya_mental",)

parser = "maya_mental"


class maya_mental(service.service):
    """The base class as it is."""
