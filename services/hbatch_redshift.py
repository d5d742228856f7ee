"""Houdini's batch mode with Redshift as the renderer."""

from __future__ import annotations

from services import service

__all__ = ("hbatch_redshift",)

parser = "hbatch_redshift"


class hbatch_redshift(service.service):
    """The base class as it is."""
