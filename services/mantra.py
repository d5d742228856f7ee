"""Mantra."""

from __future__ import annotations

from services import service

__all__ = ("mantra",)

parser = "mantra"


class mantra(service.service):
    """The base class as it is."""
