"""Softimage."""

from __future__ import annotations

from services import service

__all__ = ("xsi",)

parser = "xsi"


class xsi(service.service):
    """The base class as it is."""
