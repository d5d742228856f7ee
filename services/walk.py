"""Scans of a file system for CGRU's RULES."""

from __future__ import annotations

from services import service

__all__ = ("walk",)

parser = "generic"


class walk(service.service):
    """The base class as it is."""
