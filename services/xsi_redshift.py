"""Softimage with Redshift as the renderer."""

from __future__ import annotations

from services import service

__all__ = ("xsi_redshift",)

parser = "xsi_redshift"


class xsi_redshift(service.service):
    """The base class as it is."""
