"""3ds Max."""

from __future__ import annotations

from services import service

__all__ = ("max",)

parser = "max"


class max(service.service):  # noqa: A001 - the name by which jobs ask for it
    """The base class as it is."""
