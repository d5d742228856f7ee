"""OpenImageIO's maketx."""

from __future__ import annotations

from services import service

__all__ = ("maketx",)

parser = "maketx"


class maketx(service.service):
    """The base class as it is."""
