"""USD's usdrecord."""

from __future__ import annotations

from services import service

__all__ = ("usdrecord",)

parser = "usdrecord"


class usdrecord(service.service):
    """The base class as it is."""
