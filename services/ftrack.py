"""Publishing to ftrack."""

from __future__ import annotations

from services import service

__all__ = ("ftrack",)

parser = "ftrack"


class ftrack(service.service):
    """The base class as it is."""
