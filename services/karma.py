"""Karma."""

from __future__ import annotations

from services import service

__all__ = ("karma",)

parser = "karma"


class karma(service.service):
    """The base class as it is."""
