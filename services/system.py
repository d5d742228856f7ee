"""The server's own job: its commands run as they are."""

from __future__ import annotations

from services import service

__all__ = ("system",)

parser = "generic"


class system(service.service):
    """The base class as it is."""
