"""Houdini's husk: USD scenes by Karma and other delegates."""

from __future__ import annotations

from services import service

__all__ = ("husk",)

parser = "husk"


class husk(service.service):
    """The base class as it is."""
