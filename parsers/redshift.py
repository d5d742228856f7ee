"""Redshift's command line (redshiftCmdLine), from version 2 to 2026."""

from __future__ import annotations

from parsers._inside import InsideParser
from parsers._messages import Messages
from parsers._redshift import REDSHIFT, REDSHIFT_RULES
from parsers._render_failures import RENDER_FAILURES
from parsers._resource_report import UsageParser, greatest
from parsers.parser import Rule, rule

__all__ = ("redshift",)


class redshift(InsideParser, UsageParser):
    """Percents by blocks, frames as they are done or skipped, files, the number of triangles."""

    rules: tuple[Rule, ...] = (
        *REDSHIFT_RULES,
        rule("Total triangles:", r"Total triangles: +(\d[\d,]{0,20})", greatest("triangles")),
    )
    messages: tuple[Messages, ...] = (
        REDSHIFT,
        RENDER_FAILURES,
    )
