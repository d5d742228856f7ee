"""Blackmagic Fusion."""

from __future__ import annotations

from services import service

__all__ = ("fusion",)

parser = "fusion"


class fusion(service.service):
    """The base class as it is."""
