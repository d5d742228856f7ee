"""Softimage with Arnold as the renderer."""

from __future__ import annotations

from services import service

__all__ = ("xsi_arnold",)

parser = "xsi_arnold"


class xsi_arnold(service.service):
    """The base class as it is."""
