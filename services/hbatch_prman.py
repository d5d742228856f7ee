"""Houdini's batch mode with RenderMan as the renderer."""

from __future__ import annotations

from services import service

__all__ = ("hbatch_prman",)

parser = "hbatch_prman"


class hbatch_prman(service.service):
    """The base class as it is."""
