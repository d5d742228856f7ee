"""Cinema 4D."""

from __future__ import annotations

from services import service

__all__ = ("c4d",)

parser = "c4d"


class c4d(service.service):
    """The base class as it is."""
