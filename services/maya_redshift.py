"""Maya with Redshift as the renderer."""

from __future__ import annotations

from services import service

__all__ = ("maya_redshift",)

parser = "maya_redshift"


class maya_redshift(service.service):
    """The base class as it is."""
