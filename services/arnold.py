"""Arnold's kick."""

from __future__ import annotations

from services import service

__all__ = ("arnold",)

parser = "arnold"


class arnold(service.service):
    """The base class as it is."""
