"""Export of V-Ray scenes from Maya."""

from __future__ import annotations

from services import service

__all__ = ("mayatovray",)

parser = "mayatovray"


class mayatovray(service.service):
    """The base class as it is."""
