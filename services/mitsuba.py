"""Mitsuba 3: its command line, or a script."""

from __future__ import annotations

from services import service

__all__ = ("mitsuba",)

parser = "mitsuba"


class mitsuba(service.service):
    """The base class as it is."""
