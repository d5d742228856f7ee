"""Transfers by FTP."""

from __future__ import annotations

from services import service

__all__ = ("ftp",)

parser = "generic"


class ftp(service.service):
    """The base class as it is."""
