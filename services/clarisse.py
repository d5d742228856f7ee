"""Isotropix Clarisse (cnode)."""

from __future__ import annotations

from services import service

__all__ = ("clarisse",)

parser = "clarisse"


class clarisse(service.service):
    """The base class as it is."""
