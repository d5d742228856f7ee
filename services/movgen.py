"""Movies from image sequences."""

from __future__ import annotations

from services import service

__all__ = ("movgen",)

parser = "generic"


class movgen(service.service):
    """The base class as it is."""
