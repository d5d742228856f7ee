r"""RenderMan's prman, to version 26: ``R90000   45%``.

The options ``-progress`` (one line, redrawn) and ``-Progress`` (a line each) turn this on. Errors
that end a render contain ``{SEVERE}``.
"""

from __future__ import annotations

from parsers._passes import PassParser, pass_rules
from parsers.parser import Rule, image, mark, rule

__all__ = ("prman",)


class prman(PassParser):
    """Percents of each frame, files from the lines of displays, failures of the licence."""

    rules: tuple[Rule, ...] = (
        *pass_rules("R90000", r"R90000 +(\d+(?:\.\d+)?) *%", "100%", r"R90000 +100 *%"),
        rule("mode = rgba", r'^.*?"(.+?)".*mode = rgba', image),
        rule("{SEVERE}", r"\{SEVERE\} +License", mark("error")),
    )
