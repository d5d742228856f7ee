"""OpenImageIO's oiiotool."""

from __future__ import annotations

from services import service

__all__ = ("oiiotool",)

parser = "oiiotool"


class oiiotool(service.service):
    """The base class as it is."""
