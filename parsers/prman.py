r"""RenderMan's prman, to version 26: ``R90000   45%``.

It is told to by ``-progress`` (one line, drawn again and again) or ``-Progress`` (a line each).
Errors that end a render are marked ``{SEVERE}``.
"""

from __future__ import annotations

from parsers._passes import LapParser, laps
from parsers.parser import Rule, image, mark, rule

__all__ = ("prman",)


class prman(LapParser):
    """Percents of each frame, files from the lines of displays, failures of the licence."""

    rules: tuple[Rule, ...] = (
        *laps("R90000", r"R90000 +(\d+(?:\.\d+)?) *%", "100%", r"R90000 +100 *%"),
        rule("mode = rgba", r'^.*?"(.+?)".*mode = rgba', image),
        rule("{SEVERE}", r"\{SEVERE\} +License", mark("error")),
    )
