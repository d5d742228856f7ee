"""Houdini's batch mode with Karma as the renderer."""

from __future__ import annotations

from services import service

__all__ = ("hbatch_karma",)

parser = "hbatch_karma"


class hbatch_karma(service.service):
    """The base class as it is."""
