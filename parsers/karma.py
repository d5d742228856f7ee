"""Houdini's Karma, CPU and XPU, with verbosity in Alfred's style.

Of Karma XPU only the lines of progress are known; they are those of the CPU version.
"""

from __future__ import annotations

from parsers._mantra import MantraParser, sized_image, warnings_of
from parsers._resource_report import memory
from parsers.parser import Rule, rule

__all__ = ("karma",)


class karma(MantraParser):
    """Percents, images as they begin, peak memory."""

    rules: tuple[Rule, ...] = (
        *MantraParser.rules,
        rule("Image: ", r"(?:^|\s)Image: (.+)", sized_image),
        rule(
            "Peak Memory Usage: ",
            r"Peak Memory Usage: +(\d{1,12}(?:\.\d+)?) +([A-Za-z]+)",
            memory("karma_gb"),
        ),
    )
    warnings = warnings_of("karma")

    def findImage(self, i_line: str) -> None:
        """As in the base class, but ``Image: `` counts no frame: it names the current one's file."""
        if not i_line.startswith("Image: "):
            super().findImage(i_line)
