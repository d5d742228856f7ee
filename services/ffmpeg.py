"""ffmpeg."""

from __future__ import annotations

from services import service

__all__ = ("ffmpeg",)

parser = "ffmpeg"


class ffmpeg(service.service):
    """The base class as it is."""
