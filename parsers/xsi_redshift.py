"""Redshift in Softimage."""

from __future__ import annotations

from parsers._redshift import REDSHIFT
from parsers._xsi import XsiParser, skipped
from parsers.parser import frame_percent, rule

__all__ = ("xsi_redshift",)


class xsi_redshift(XsiParser):
    """Percents by blocks, which are finished in any order; Softimage's frames and activities."""

    rules = (
        *XsiParser.frame_rules,
        *skipped(" skipped", r"\b\d+ skipped"),
        rule("rendered by GPU", r"Block +(\d+)/(\d+).{0,200}rendered by GPU", frame_percent),
    )
    messages = (REDSHIFT,)
