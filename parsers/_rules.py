r"""Parsers as tables: a class lists its rules, each a text to look for, a pattern and an action.

    class lightwave(RuleParser):
        rules = (
            rule("Finished frame: ", r"Finished frame: \d", frame_done),
            rule("Render Complete ", r"Render Complete (\d+)%", frame_percent),
        )
        errors = ("License error",)

Rules are applied line by line, in the order of the table, and an action knows nothing of where
the output was cut into portions: so the cuts make no difference. Progress only grows.

Renderers print little else than progress, megabytes of it. So lines with nothing but progress
are not looked at one by one: between two lines that hold anything else the greatest counts.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator

from parsers._actions import (
    Found,
    Progress,
    Rule,
    activity,
    fraction,
    frame_done,
    frame_end,
    frame_percent,
    frame_share,
    image,
    image_onthefly,
    mark,
    new_frame,
    report,
    rule,
    say,
    task_percent,
    task_share,
)
from parsers.parser import ACTIVITY, REPORT, parser

__all__ = (
    "Found",
    "Progress",
    "Rule",
    "RuleParser",
    "activity",
    "fraction",
    "frame_done",
    "frame_end",
    "frame_percent",
    "frame_share",
    "image",
    "image_onthefly",
    "mark",
    "new_frame",
    "report",
    "rule",
    "say",
    "task_percent",
    "task_share",
)


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
    names_repeat = True
    """Whether a frame told again by the same text is still that frame: then nobody looks twice.
    False in a class whose own actions change `marked`."""

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
        self._repeated = ""
        """The text by which the last frame was told, with the character behind it."""
        self._whole = 0
        self._moved = False
        self._trouble = ""

    def findMarkers(self, i_data: str) -> None:
        """Nothing: the markers are rules too, so that they keep their place among the others."""

    def do(self, i_args: dict[str, object]) -> str | None:
        text = str(i_args.get("data", ""))
        # Most rules are not met in most portions: a search of the whole costs next to nothing.
        rules = [one for one in (*MARKERS, *self.rules) if one.token in text]
        if rules:
            if "\r" in text:
                text = text.replace("\r\n", "\n").replace("\r", "\n")
            self._apply(rules, text)
        return None

    def _apply(self, rules: list[Rule], text: str) -> None:
        bulk = [one for one in rules if one.bulk]
        single = [one for one in rules if not one.bulk]
        starts: set[int] = set()
        for one in single:
            starts.update(self._lines_with(one, text))
        done = 0
        for start in sorted(starts):
            self._grow(bulk, text, done, start)
            done = _line_end(text, start)
            self._apply_to_line(rules, text[start:done])
        self._grow(bulk, text, done, len(text))
        if self._trouble:
            self._complain(self._trouble)
            self._trouble = ""
        if self._moved:
            self._moved = False
            self.calculate()

    def _lines_with(self, one: Rule, text: str) -> Iterator[int]:
        """Where the lines begin that hold the rule's token (not those that repeat a frame's name)."""
        repeats = one.action is new_frame and one.pattern.groups > 0 and self._has_one_name()
        at = text.find(one.token)
        while at >= 0:
            if repeats and self._repeated and text.startswith(self._repeated, at):
                at = text.find(one.token, at + len(self._repeated) - 1)
                continue
            start = text.rfind("\n", 0, at) + 1
            end = _line_end(text, start)
            yield start
            if repeats:
                self._repeated = _last_name(one, text, start, end)
            at = text.find(one.token, end)

    def _has_one_name(self) -> bool:
        """Whether one rule alone names frames, so that its last name is the present frame's."""
        return self.names_repeat and sum(one.action is new_frame for one in self.rules) == 1

    def _grow(self, rules: list[Rule], text: str, start: int, end: int) -> None:
        """Apply rules of progress to whole lines that hold nothing else."""
        for one in rules:
            if isinstance(one.action, Progress) and text.find(one.token, start, end) >= 0:
                told = one.pattern.findall(text, start, end)
                if one.pattern.groups < 2:
                    told = [(group,) for group in told]
                self._take_progress(one.action, told)

    def _apply_to_line(self, rules: list[Rule], line: str) -> None:
        for token, pattern, action, _ in rules:
            if token not in line:
                continue
            for found in pattern.finditer(line):
                if isinstance(action, Progress):
                    self._take_progress(action, [found.groups("") or (found.group(),)])
                    continue
                try:
                    action(self, found)
                except Exception:  # noqa: BLE001 - one odd line must not hide the next ones
                    self._trouble = self._trouble or traceback.format_exc()

    def _take_progress(self, action: Progress, told: list[tuple[str, ...]]) -> None:
        """Grow by the greatest of what was told, each item the groups of a match."""
        if action.wanted is not None and not action.wanted(self):
            return
        share, greatest = action.share, -1.0
        for groups in told:
            try:
                percent = share(self, groups)
            except Exception:  # noqa: BLE001 - as above
                self._trouble = self._trouble or traceback.format_exc()
                continue
            if percent is not None and percent > greatest:
                greatest = percent
        if greatest >= 0:
            (self.grow_task if action.whole else self.grow_frame)(greatest)

    # What actions do.

    def next_frame(self) -> None:
        """The present frame is done."""
        self.frame = min(self.frame + 1, max(1, self.numframes))
        if self.numframes > 1:
            self.percentframe = 0
        self._moved = True

    def grow_frame(self, percent: float) -> None:
        """So much of the present frame is done; less than before changes nothing."""
        if percent > self.percentframe:
            self.percentframe = int(min(percent, 100))
            self._moved = True

    def grow_task(self, percent: float) -> None:
        """So much of the whole task is done; for programs that do not speak of frames."""
        if percent > self._whole:
            self._whole = int(min(percent, 100))
            self.percentframe = max(self.percentframe, self._whole)
            self._moved = True

    def calculate(self) -> None:
        """As the base class does, but never below what was told of the whole task."""
        super().calculate()
        self.percent = max(self.percent, self._whole)


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    return end + 1 if end >= 0 else len(text)


def _last_name(one: Rule, text: str, start: int, end: int) -> str:
    """How the line's last frame is told, from the token on, with the character behind it.

    Empty where that would not tell this frame from another.
    """
    name = ""
    for found in one.pattern.finditer(text[start:end]):
        at = text.find(one.token, start + found.start(), start + found.end())
        stop = start + found.end() + 1
        name = text[at:stop] if start + found.start() <= at and stop <= end else ""
        if at > start + found.start(1):
            name = ""  # the name stands before the token
    return name


def _image_line(parser: RuleParser, found: Found) -> None:
    parser.findImage(found.string.rstrip("\n"))


MARKERS = (
    rule(ACTIVITY, rf".*{ACTIVITY}[ \t]*(\S.*)", activity),
    rule(REPORT, rf".*{REPORT}[ \t]*(\S.*)", report),
    rule("@IMAGE", r"@IMAGE!?@", _image_line),
    rule("Image: ", r"^Image: (?!.*@IMAGE@)", _image_line),
)
"""What the base class looks for, as rules."""
