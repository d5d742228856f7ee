"""Checksums of files."""

from __future__ import annotations

from services import service

__all__ = ("checksum",)

parser = "generic"


class checksum(service.service):
    """The base class as it is."""
