"""Houdini's Mantra, with verbosity in Alfred's style (``mantra -V 2a``)."""

from __future__ import annotations

from parsers._mantra import MantraParser, sized_image, warnings_of
from parsers._resource_report import memory
from parsers.parser import Rule, rule

__all__ = ("mantra",)


class mantra(MantraParser):
    """Percents, images as they begin, peak memory."""

    rules: tuple[Rule, ...] = (
        *MantraParser.rules,
        rule("Generating Image: ", r"Generating Image: (.+)", sized_image),
        rule(
            "Peak Memory Usage: ",
            r"Peak Memory Usage: +(\d{1,12}(?:\.\d+)?) +([A-Za-z]+)",
            memory("mantra_gb"),
        ),
    )
    warnings = warnings_of("mantra")
