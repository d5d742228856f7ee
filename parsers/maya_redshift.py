"""Redshift in Maya."""

from __future__ import annotations

from parsers.maya import maya
from parsers.redshift import redshift

__all__ = ("maya_redshift",)


class maya_redshift(maya, redshift):
    """Redshift's progress, the errors of both."""

    rules = redshift.rules
