"""Houdini's batch mode."""

from __future__ import annotations

from services import service

__all__ = ("hbatch",)

parser = "hbatch"


class hbatch(service.service):
    """The base class as it is."""
