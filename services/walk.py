"""Walks through a file system for RULES."""

from __future__ import annotations

from services import service

__all__ = ("walk",)

parser = "generic"


class walk(service.service):
    """The base class as it is."""
