"""Any command."""

from __future__ import annotations

from services import service

__all__ = ("generic",)

parser = "generic"


class generic(service.service):
    """The base class as it is."""
