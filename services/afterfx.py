"""Adobe After Effects (aerender)."""

from __future__ import annotations

from services import service

__all__ = ("afterfx",)

parser = "afterfx"


class afterfx(service.service):
    """The base class as it is."""
