"""Export of mental ray scenes from Maya."""

from __future__ import annotations

from services import service

__all__ = ("mayatomr",)

parser = "mayatomr"


class mayatomr(service.service):
    """The base class as it is."""
