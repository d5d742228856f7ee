"""Export of Arnold scenes from Maya."""

from __future__ import annotations

from services import service

__all__ = ("mayatoarnold",)

parser = "mayatoarnold"


class mayatoarnold(service.service):
    """The base class as it is."""
