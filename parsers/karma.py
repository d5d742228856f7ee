"""Houdini's Karma, CPU and XPU, with verbosity in Alfred's style.

Of a log of Karma XPU only the lines of progress are known to us; they are those of the CPU.
"""

from __future__ import annotations

from parsers._mantra import MantraParser, sized_image, warnings_of
from parsers._resource_report import memory
from parsers.parser import Rule, rule

__all__ = ("karma",)


class karma(MantraParser):
    """Percents, images as they begin, memory at most."""

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
        """As for any program, but that ``Image: `` counts no frame: Karma says it of the present one."""
        if not i_line.startswith("Image: "):
            super().findImage(i_line)
