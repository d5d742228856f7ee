r"""Parsers as tables: a class lists its rules, each a text to look for, a pattern and an action.

    class lightwave(RuleParser):
        rules = (
            rule("Finished frame: ", r"Finished frame: \d", frame_done),
            rule("Render Complete ", r"Render Complete (\d+)%", frame_percent),
        )
        errors = ("License error",)

Rules are applied line by line, in the order of the table, and an action knows nothing of where
the output was cut into portions: so the cuts make no difference. Progress only grows.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from parsers import _text
from parsers.parser import ACTIVITY, REPORT, parser

__all__ = (
    "Rule",
    "RuleParser",
    "activity",
    "frame_done",
    "frame_end",
    "frame_percent",
    "image",
    "image_onthefly",
    "mark",
    "new_frame",
    "report",
    "rule",
    "say",
    "task_percent",
)

Found: TypeAlias = re.Match[str]


class RuleParser(parser):
    """A parser that is a table. Subclasses set `rules` and the tuples of texts."""

    ticks = False

    rules: tuple[Rule, ...] = ()
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    """Texts that set the flag wherever they stand; upper or lower case does not matter."""
    badresults: tuple[str, ...] = ()
    fatalerrors: tuple[str, ...] = ()
    successes: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        for texts, name in (
            (self.warnings, "str_warning"),
            (self.errors, "str_error"),
            (self.badresults, "str_badresult"),
            (self.fatalerrors, "str_fatalerror"),
            (self.successes, "str_finishedsuccess"),
        ):
            present = getattr(self, name)
            present.extend(text for text in texts if text not in present)
        self.marked: str | None = None
        """What told the present frame from others; None before the first one."""
        self._moved = False

    def findMarkers(self, i_data: str) -> None:
        """Nothing: the markers are rules too, so that they keep their place among the others."""

    def do(self, i_args: dict[str, object]) -> str | None:
        data = str(i_args.get("data", ""))
        # Most rules are not met in most portions: a search of the whole is much cheaper than
        # one in each line.
        rules = [rule for rule in (*MARKERS, *self.rules) if rule.token in data]
        if rules:
            self._apply(rules, _text.lines(data))
        return None

    def _apply(self, rules: list[Rule], lines: list[str]) -> None:
        trouble = ""
        for line in lines:
            for token, pattern, action in rules:
                if token not in line:
                    continue
                try:
                    for found in pattern.finditer(line):
                        action(self, found)
                except Exception:  # noqa: BLE001 - one odd line must not hide the next ones
                    trouble = trouble or traceback.format_exc()
        if trouble:
            self._complain(trouble)
        if self._moved:
            self._moved = False
            self.calculate()

    # What actions do.

    def next_frame(self) -> None:
        """The present frame is done."""
        self.frame += 1
        if self.numframes > 1:
            self.percentframe = 0
        self._moved = True

    def grow_frame(self, percent: float) -> None:
        """So much of the present frame is done; less than before changes nothing."""
        if percent > self.percentframe:
            self.percentframe = min(int(percent), 100)
            self._moved = True

    def grow_task(self, percent: float) -> None:
        """So much of the whole task is done; for programs that do not speak of frames."""
        self.percent = max(self.percent, min(int(percent), 100))
        self.percentframe = max(self.percentframe, self.percent)


Action: TypeAlias = Callable[["RuleParser", Found], None]


class Rule(NamedTuple):
    """Made by `rule`."""

    token: str
    pattern: re.Pattern[str]
    action: Callable[..., None]


def rule(token: str, pattern: str, action: Callable[..., None]) -> Rule:
    """Call `action(parser, match)` for each match of `pattern` in each line that holds `token`.

    The token is plain text and only there for speed: one that is long and rare is best.
    """
    return Rule(token, re.compile(pattern), action)


def fraction(found: Found) -> float | None:
    """Percents: the first group as a number, or first of second (``12/64``); None for of zero."""
    groups = [float(group) for group in found.groups()[:2] if group is not None]
    if len(groups) == 2:
        return 100 * groups[0] / groups[1] if groups[1] > 0 else None
    return groups[0] if groups else None


# Actions.


def new_frame(parser: RuleParser, found: Found) -> None:
    """A frame begins: the one before is done, if there was one.

    With a group in the pattern only a text other than the last one is another frame.
    """
    told = found.group(1) if found.re.groups else None
    if parser.marked is not None and (told is None or told != parser.marked):
        parser.next_frame()
    parser.marked = told or ""


def frame_done(parser: RuleParser, found: Found) -> None:
    """A frame has ended (or was skipped)."""
    parser.next_frame()


def frame_end(parser: RuleParser, found: Found) -> None:
    """The present frame is complete, but only the beginning of the next one counts it."""
    parser.grow_frame(100)


def frame_percent(parser: RuleParser, found: Found) -> None:
    """Percents of the present frame: ``(\\d+)%`` or ``(\\d+)/(\\d+)``."""
    percent = fraction(found)
    if percent is not None:
        parser.grow_frame(percent)


def task_percent(parser: RuleParser, found: Found) -> None:
    """Percents of the whole task."""
    percent = fraction(found)
    if percent is not None:
        parser.grow_task(percent)


def image(parser: RuleParser, found: Found) -> None:
    """A file was, or will be, written: its name is the last group that has matched."""
    parser.appendFile(found.group(found.lastindex or 0))


def image_onthefly(parser: RuleParser, found: Found) -> None:
    """As `image`, with its thumbnail made at once."""
    parser.appendFile(found.group(found.lastindex or 0), True)


def activity(parser: RuleParser, found: Found) -> None:
    """What the program does now: the last group that has matched."""
    parser.activity = found.group(found.lastindex or 0).strip() or parser.activity


def report(parser: RuleParser, found: Found) -> None:
    """Text for the job: the last group that has matched."""
    parser.report = found.group(found.lastindex or 0).strip() or parser.report


def say(text: str) -> Action:
    """The activity is this text."""

    def act(parser: RuleParser, found: Found) -> None:
        parser.activity = text

    return act


def mark(flag: str) -> Action:
    """Set a flag (``error``, ``warning``, ...) where plain texts are not enough."""
    if flag not in ("warning", "error", "badresult", "fatalerror", "finishedsuccess"):
        raise ValueError(f"no flag {flag!r}")

    def act(parser: RuleParser, found: Found) -> None:
        setattr(parser, flag, True)

    return act


def _image_line(parser: RuleParser, found: Found) -> None:
    parser.findImage(found.string)


MARKERS = (
    rule(ACTIVITY, rf".*{ACTIVITY}\s*(\S.*)", activity),
    rule(REPORT, rf".*{REPORT}\s*(\S.*)", report),
    rule("@IMAGE", r"@IMAGE!?@", _image_line),
    rule("Image: ", r"^Image: (?!.*@IMAGE@)", _image_line),
)
"""What the base class looks for, as rules."""
