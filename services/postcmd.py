"""What a job or a block has run after it, by the server's own job. No parser by default."""

from __future__ import annotations

from services import service

__all__ = ("postcmd",)


class postcmd(service.service):
    """The base class as it is."""
