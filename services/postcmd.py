"""The command that follows a job or a block, as a task of the server's own job. No parser."""

from __future__ import annotations

from services import service

__all__ = ("postcmd",)


class postcmd(service.service):
    """The base class as it is."""
