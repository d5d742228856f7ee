"""LightWave (lwsn)."""

from __future__ import annotations

from services import service

__all__ = ("lightwave",)

parser = "lightwave"


class lightwave(service.service):
    """The base class as it is."""
