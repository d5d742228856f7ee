"""Redshift inside Houdini. It reports frames and percents, so Houdini's frames are not needed."""

from __future__ import annotations

from parsers.hbatch import hbatch
from parsers.redshift import redshift

__all__ = ("hbatch_redshift",)


class hbatch_redshift(hbatch, redshift):
    """Redshift's progress, errors of both, Houdini's warnings."""

    rules = redshift.rules
