"""Houdini's batch mode with Mantra as the renderer."""

from __future__ import annotations

from services import service

__all__ = ("hbatch_mantra",)

parser = "hbatch_mantra"


class hbatch_mantra(service.service):
    """The base class as it is."""
