"""POV-Ray."""

from __future__ import annotations

from services import service

__all__ = ("povray",)

parser = "povray"


class povray(service.service):
    """The base class as it is."""
