r"""Redshift, from its command line or inside another program.

    [Redshift] Rendering frame 12...
    [Redshift] 	Block 5/240 (3,7) rendered by GPU 0 in 20ms
    [Redshift] Frame done - total time for frame 5.21s

With several devices blocks are finished in any order. The lines are the same since version 2;
Redshift 2024 and later report a missing licence as ``Maxon licensing error``.
"""

from __future__ import annotations

from parsers._passes import frame_finished
from parsers._resource_report import UsageParser, greatest
from parsers.parser import Found, Rule, RuleParser, frame_percent, progress_only, rule

__all__ = ("redshift",)


@progress_only
def _render_done(parser: RuleParser, found: Found) -> None:
    while parser.frame < parser.numframes:
        frame_finished(parser, found)


class redshift(UsageParser):
    """Percents by blocks, frames as they are done or skipped."""

    rules: tuple[Rule, ...] = (
        rule("rendered by ", r"Block +(\d+)/(\d+).*rendered by [GC]PU", frame_percent),
        rule("Frame ", r"\bFrame\b.*\bdone\b", frame_finished),
        rule("Skipping frame", r"Skipping frame", frame_finished),
        rule("Rendering done", r"Rendering done", _render_done),
        rule("Total triangles: ", r"Total triangles: (\d[\d,]{0,20})", greatest("triangles")),
    )
    errors: tuple[str, ...] = (
        "No devices found. Aborting rendering.",
        "Rendering was internally aborted",
        "Bad node type found: Redshift_ROP",
        "Bad node type found: redshift_vopnet",
        "Error an illegal memory access was encountered",
        "License error",
        "Maxon licensing error",
    )
