"""Commands of the server's own job."""

from __future__ import annotations

from services import service

__all__ = ("system",)

parser = "generic"


class system(service.service):
    """The base class as it is."""
