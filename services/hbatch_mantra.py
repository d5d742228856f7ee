"""Houdini's batch mode that has Mantra render."""

from __future__ import annotations

from services import service

__all__ = ("hbatch_mantra",)

parser = "hbatch_mantra"


class hbatch_mantra(service.service):
    """The base class as it is."""
