"""RED's REDline."""

from __future__ import annotations

from services import service

__all__ = ("redline",)

parser = "redline"


class redline(service.service):
    """The base class as it is."""
