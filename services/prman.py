"""RenderMan's prman."""

from __future__ import annotations

from services import service

__all__ = ("prman",)

parser = "prman"


class prman(service.service):
    """The base class as it is."""
