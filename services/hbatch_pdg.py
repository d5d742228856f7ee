"""Houdini's batch mode, cooking a PDG graph."""

from __future__ import annotations

from services import service

__all__ = ("hbatch_pdg",)

parser = "generic"


class hbatch_pdg(service.service):
    """The base class as it is."""
