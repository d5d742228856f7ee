r"""Nuke's command line (``nuke -x``), to version 16.

    Writing /out/comp.1077.exr took 0.13 seconds
    Frame 1077 (1 of 10)

During a long frame Nuke prints tenths, one number at a time: ``.1.2.3``, in a line of their own or,
in older versions, after the name of the file. The lines are those of Nuke 15.1; no log of 16 was
available.
"""

from __future__ import annotations

import re

from parsers._compositing_messages import NUKE
from parsers._frames_from_files import frame_number
from parsers._passes import frame_finished
from parsers._text import text_of
from parsers.parser import Found, Rule, RuleParser, activity, frame_share, rule

__all__ = ("VIEW", "nuke")

VIEW = rule('EXECUTING VIEW "', r'EXECUTING VIEW "([^"\n]+)"', activity)

_RUNS_PYTHON = re.compile(r"(?i:nuke)\S*\s(?:.*\s)?-\w*t\b")
_RENDERS = re.compile(r"\s(?:-\w*x|-X|-F)\b")
_STAMP = r"^(?:\[\d\d:\d\d[.:]\d\d\] *)?"
_WRITING = rf"{_STAMP}Writing (.+)"
_AFTER_NAME = re.compile(r" took | ((?:\.[1-9])+)")
_TENTHS = rf"{_STAMP}((?:\.[1-9])+)"


def _writing(parser: nuke, found: Found) -> None:
    """A file of a frame is written, or its tenths are printed after the name."""
    rest = found.group(1)
    after = _AFTER_NAME.search(rest)
    _begin_frame(parser, rest[: after.start()] if after else rest)
    if after and after.group(1):
        parser.grow_frame(_tenths(parser, (after.group(1),)))
        rest = rest[: after.start()]
    elif after:
        rest = rest.rpartition(" took ")[0]
    parser.appendFile(rest)


def _begin_frame(parser: nuke, name: str) -> None:
    """Count a frame by another number in the name, unless Nuke reports frames."""
    number = frame_number(name.strip())
    if number is not None and not parser.reports_frames:
        if parser.frame_name is not None and number != parser.frame_name:
            parser.begin_frame()
        parser.frame_name = number


def _tenths(parser: RuleParser, groups: tuple[str, ...]) -> float:
    # The maximum: an unfinished line must not give more than the whole line will.
    return 10 * max(map(int, groups[0][1::2]))


def _frame(parser: nuke, found: Found) -> None:
    """A frame is done, with all its files."""
    # Before the first such line file names counted frames: they may have counted this one already.
    if parser.reports_frames or parser.frame < int(found.group(1)):
        frame_finished(parser, found)
    parser.reports_frames = True


class nuke(RuleParser):
    """Frames as they are done, tenths of each, files, views, and the texts of Nuke's failures."""

    tail = True
    reports_frames = False
    """Whether Nuke has printed a line for a frame that is done."""

    rules: tuple[Rule, ...] = (
        VIEW,
        rule("Writing ", _WRITING, _writing),
        rule(".", _TENTHS, frame_share(_tenths)),
        rule("Frame ", rf"{_STAMP}Frame -?\d+ \((\d{{1,9}}) of \d+\)", _frame),
    )
    messages = NUKE
    tells_frames = True

    def expects_frames(self) -> bool:
        """``nuke -t`` runs a script, which may render nothing; ``-x``, ``-X`` and ``-F`` render."""
        command = text_of(self.taskInfo.get("command"))
        return not _RUNS_PYTHON.search(command) or bool(_RENDERS.search(command))

    def finish(self, mode: str) -> None:
        """Where Nuke prints no line for a frame that is done, the last tenth of the last one counts."""
        super().finish(mode)
        if mode == "0:0" and not (self.is_bad() or self.reports_frames) and self.percentframe >= 90:
            frame_finished(self, None)

    def read_tail(self, tail: str) -> None:
        """Read the tenths of an unfinished line: the whole line will have no fewer."""
        writing, tenths = re.match(_WRITING, tail), re.match(_TENTHS, tail)
        after = _AFTER_NAME.search(writing.group(1)) if writing else None
        if writing and after and after.group(1):
            _begin_frame(self, writing.group(1)[: after.start()])
            tenths = after
        if tenths and tenths.group(1):
            self.grow_frame(_tenths(self, (tenths.group(1),)))
