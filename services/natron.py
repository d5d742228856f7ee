"""Natron."""

from __future__ import annotations

from services import service

__all__ = ("natron",)

parser = "natron"


class natron(service.service):
    """The base class as it is."""
