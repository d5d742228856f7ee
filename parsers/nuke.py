r"""Nuke's command line (``nuke -x``), to version 16.

    Writing /out/comp.1077.exr took 0.13 seconds
    Frame 1077 (1 of 10)

While a frame takes long its tenths are told, a number at a time: ``.1.2.3``, in a line of their own
or, by older versions, behind the name of the file. The lines are those of Nuke 15.1; of 16 we have
seen no log.
"""

from __future__ import annotations

import re

from parsers._frames_from_files import frame_number
from parsers._passes import frame_finished
from parsers.parser import Found, Rule, RuleParser, activity, frame_share, mark, rule

__all__ = ("LICENCE_ERROR", "VIEW", "nuke")

VIEW = rule('EXECUTING VIEW "', r'EXECUTING VIEW "([^"\n]+)"', activity)
LICENCE_ERROR = rule(" license key", r"Invalid .* license key", mark("error"))

_STAMP = r"^(?:\[\d\d:\d\d[.:]\d\d\] *)?"
_WRITING = rf"{_STAMP}Writing (.+)"
_BEHIND_NAME = re.compile(r" took | ((?:\.[1-9])+)")
_TENTHS = rf"{_STAMP}((?:\.[1-9])+)"


def _writing(parser: nuke, found: Found) -> None:
    """A file of a frame is written, or its tenths are still being told."""
    rest = found.group(1)
    behind = _BEHIND_NAME.search(rest)
    _begin(parser, rest[: behind.start()] if behind else rest)
    if behind and behind.group(1):
        parser.grow_frame(_tenths(parser, (behind.group(1),)))
        rest = rest[: behind.start()]
    elif behind:
        rest = rest.rpartition(" took ")[0]
    parser.appendFile(rest)


def _begin(parser: nuke, name: str) -> None:
    """Where frames themselves are not told, another number in the name is another frame."""
    number = frame_number(name.strip())
    if number is not None and not parser.told:
        if parser.marked is not None and number != parser.marked:
            parser.next_frame()
        parser.marked = number


def _tenths(parser: RuleParser, groups: tuple[str, ...]) -> float:
    # Not the last one: of a line that still grows there must be seen no more than of the whole.
    return 10 * max(map(int, groups[0][1::2]))


def _frame(parser: nuke, found: Found) -> None:
    """A frame is done, with all of its files."""
    # The file that began another frame may have counted the first one already.
    if parser.told or parser.frame < int(found.group(1)):
        frame_finished(parser, found)
    parser.told = True


class nuke(RuleParser):
    """Frames as they are done, tenths of each, files, views, and Nuke's ways to say that it failed."""

    tail = True
    told = False
    """Whether frames are told as they are done."""

    rules: tuple[Rule, ...] = (
        VIEW,
        rule("Writing ", _WRITING, _writing),
        rule(".", _TENTHS, frame_share(_tenths)),
        rule("Frame ", rf"{_STAMP}Frame -?\d+ \((\d{{1,9}}) of \d+\)", _frame),
        LICENCE_ERROR,
    )
    errors = (
        "Worker process failed",
        "Segmentation fault",
        "Node execution error:",
        "A license for nuke was not found",
        "FOUNDRY LICENSE ERROR REPORT",
        "There are no active Write operators",
    )

    def do(self, i_args: dict[str, object]) -> str | None:
        tail = str(i_args.get("tail", ""))
        if tail:
            self._look_at(tail)
        return super().do(i_args)

    def _look_at(self, tail: str) -> None:
        """Take the tenths of a line that still grows: the whole line will tell no less."""
        writing, tenths = re.match(_WRITING, tail), re.match(_TENTHS, tail)
        behind = _BEHIND_NAME.search(writing.group(1)) if writing else None
        if writing and behind and behind.group(1):
            _begin(self, writing.group(1)[: behind.start()])
            tenths = behind
        if tenths and tenths.group(1):
            self.grow_frame(_tenths(self, (tenths.group(1),)))
        self.calculate()
