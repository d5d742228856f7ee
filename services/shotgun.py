"""Publishing to Shotgun (ShotGrid, Flow Production Tracking)."""

from __future__ import annotations

from services import service

__all__ = ("shotgun",)

parser = "shotgun"


class shotgun(service.service):
    """The base class as it is."""
