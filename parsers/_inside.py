"""Renderers that run inside another program: frames count once, whichever of the two names them."""

from __future__ import annotations

import re

from parsers._passes import PassParser
from parsers._render_failures import IMAGE_ENDING
from parsers.parser import Aside, Found, RuleParser, progress_only, rule

__all__ = ("FRAME_SKIPPED", "InsideParser", "written_image")

_QUOTES = "\"'`"
_UP_TO_ENDING = re.compile(rf".{{1,1000}}?{IMAGE_ENDING}")


class InsideParser(PassParser):
    """A table with the rules of a renderer, alone or inside a program.

    While lines name the frames (`new_frame`), a renderer's percents and its ends of frames count
    none: a frame may be rendered in several passes, layers, cameras or eyes.
    """

    skip_repeated_names = False

    @progress_only
    def begin_pass(self) -> None:
        if self.frame_name is None:
            super().begin_pass()

    @progress_only
    def finish_render(self) -> None:
        """The renderer is done with a frame, or has skipped it because its file exists."""
        if self.frame_name is not None:
            self.grow_frame(100)
            return
        self.next_frame()
        if self.numframes == 1:
            self.grow_frame(100)

    @progress_only
    def finish_task(self) -> None:
        """The renderer is done with all frames; inside a program that names frames, with one."""
        if self.frame_name is None and not self.aborted:
            self.frame = max(self.frame, self.numframes - 1)
        self.finish_render()

    def finish(self, mode: str) -> None:
        """At the end of good work a last frame without percents is complete: no line reports it."""
        super().finish(mode)
        if mode != "0:0" or self.is_bad() or self.frame_name is None or self.percentframe:
            return
        if self.frame + 1 >= self.numframes:
            self.grow_frame(100)


@progress_only
def _frame_skipped(parser: InsideParser, found: Found) -> None:
    """A frame was skipped, because its file exists."""
    number = (found.group(1) or found.group(2)).lstrip("0") or "0"
    if parser.frame_name is not None and number != (parser.frame_name.lstrip("0") or "0"):
        parser.begin_frame()
        parser.frame_name = number
    parser.finish_render()


FRAME_SKIPPED = rule(
    "kipp",
    r"\b[Ss]kipp(?:ing|ed)\b(?: \w+){0,2} [Ff]rame:? +#?(-?\d+)|\b[Ff]rame +#?(-?\d+)\b[^\n]{0,40}\b[Ss]kipp(?:ing|ed)\b",
    _frame_skipped,
)
"""A frame that is skipped is done, also if the program prints no line for its begin."""


def _announce(parser: RuleParser, found: Found) -> None:
    rest = found.group(1).strip()
    if rest[0] in _QUOTES:
        last = max(map(rest.rfind, _QUOTES))
        parser.appendFile(rest[1:last] if last else rest[1:])
    elif (name := _UP_TO_ENDING.match(rest)) is not None:
        parser.appendFile(name.group())


written_image = Aside(_announce, "each", "files")
"""An image was written: the first group begins with its name, in quotes or to its ending."""
