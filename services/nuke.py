"""Nuke."""

from __future__ import annotations

from services import service

__all__ = ("nuke",)

parser = "nuke"


class nuke(service.service):
    """The base class as it is."""
