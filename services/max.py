"""3ds Max."""

from __future__ import annotations

from services import service

__all__ = ("max",)

parser = "max"


class max(service.service):  # noqa: A001 - the name that jobs use
    """The base class as it is."""
