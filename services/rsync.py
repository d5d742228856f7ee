"""Transfers by rsync."""

from __future__ import annotations

from services import service

__all__ = ("rsync",)

parser = "rsync"


class rsync(service.service):
    """The base class as it is."""
