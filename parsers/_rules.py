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
from itertools import islice

from parsers._base import ACTIVITY, REPORT, parser
from parsers._bulk import leap, line_end, take_asides
from parsers._rule_actions import (
    Action,
    Aside,
    Found,
    Progress,
    Rule,
    activity,
    is_progress,
    new_frame,
    progress_only,
    report,
    rule,
)

__all__ = ("RuleParser",)


_MOVES = ("next_frame", "grow_frame", "grow_task", "begin_lap", "end_lap", "use")


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
        if self._are_independent(rules):
            asides = [one for one in rules if isinstance(one.action, Aside)]
            if asides:
                take_asides(self, asides, text)
                rules = [one for one in rules if not isinstance(one.action, Aside)]
        if rules:
            self._apply_in_order(rules, text, leap(self, rules, text))
        if self._trouble:
            self._complain(self._trouble)
            self._trouble = ""
        if self._moved:
            self._moved = False
            self.calculate()

    def _are_independent(self, rules: list[Rule]) -> bool:
        """Whether progress is all that these rules touch, but for those that are asides."""
        return _has_known_methods(type(self)) and all(
            isinstance(one.action, Aside | Progress) or is_progress(one.action) for one in rules
        )

    def _apply_in_order(self, rules: list[Rule], text: str, done: int) -> None:
        """Line by line from `done` on, as far as lines hold more than progress."""
        many = [one for one in rules if one.bulk]
        bulk = [(index, one.token) for index, one in enumerate(rules) if one.bulk]
        hits = self._find_hits(rules, text, done)
        hits.append((len(text), 0, 0))  # where nothing stands
        for at in range(len(hits) - 1):
            start, index, end = hits[at]
            if start < done:
                continue  # of a line that more than one rule has hit
            if done < start:
                self.take_progress(many, text, done, start)
            done, line = end, text[start:end]
            here = [index]
            while hits[at + len(here)][0] == start:
                here.append(hits[at + len(here)][1])
            for place, token in bulk:
                if token in line:
                    here.append(place)
            for index in sorted(here) if len(here) > 1 else here:
                self._apply_to_line(rules[index], line)
        self.take_progress(many, text, done, len(text))

    def _find_hits(self, rules: list[Rule], text: str, done: int) -> list[tuple[int, int, int]]:
        """Where lines begin that hold the token of a rule, which rule, where they end; in order."""
        hits: list[tuple[int, int, int]] = []
        for index, one in enumerate(rules):
            if one.bulk:
                continue
            if self._may_repeat(one):
                self._find_names(one, index, text, done, hits)
            else:
                _find_lines(one.token, index, text, done, hits)
        hits.sort()  # by line, and in a line as the table has them
        return hits

    def _may_repeat(self, one: Rule) -> bool:
        """Whether lines are to be passed by that tell the present frame again."""
        return one.action is new_frame and one.pattern.groups > 0 and self._has_one_name()

    def _find_names(
        self, one: Rule, index: int, text: str, done: int, hits: list[tuple[int, int, int]]
    ) -> None:
        """Add the lines that name a frame, but not those that name the present one again."""
        at = text.find(one.token, done)
        while at >= 0:
            if self._repeated and text.startswith(self._repeated, at):
                at = text.find(one.token, at + len(self._repeated) - 1)
                continue
            start = text.rfind("\n", 0, at) + 1
            end = line_end(text, at)
            hits.append((start, index, end))
            self._repeated = _last_name(one, text, start, end)
            at = text.find(one.token, end)

    def forget_repeated(self) -> None:
        """The present frame was told by other lines than those looked at one by one."""
        self._repeated = ""

    def _has_one_name(self) -> bool:
        """Whether one rule alone names frames, so that its last name is the present frame's."""
        return self.names_repeat and sum(one.action is new_frame for one in self.rules) == 1

    def take_progress(self, rules: list[Rule], text: str, start: int, end: int) -> None:
        """Apply rules of progress to whole lines that hold nothing else."""
        for one in rules:
            if text.find(one.token, start, end) < 0:
                continue
            told = one.pattern.findall(text, start, end)
            if one.pattern.groups < 2:
                told = [(group,) for group in told]
            if told and isinstance(one.action, Progress):
                self._take_progress(one.action, told)

    def _apply_to_line(self, one: Rule, line: str) -> None:
        found = one.pattern.search(line)
        if found is None:
            return
        action = one.action
        if isinstance(action, Progress):
            self._take_progress(action, [found.groups("") or (found.group(),)])
        else:
            try:
                action(self, found)
            except Exception:  # noqa: BLE001 - one odd line must not hide the next ones
                self._note_trouble()
        if one.within and line.find(one.token, found.end()) < 0:
            return  # as a rule it is said once
        for found in islice(one.pattern.finditer(line), 1, None):
            if isinstance(action, Progress):
                self._take_progress(action, [found.groups("") or (found.group(),)])
            else:
                self.act(action, found)

    def act(self, action: Action, found: Found) -> None:
        """Do what a match calls for: one odd line must not hide the next ones."""
        try:
            action(self, found)
        except Exception:  # noqa: BLE001 - as the line above says
            self._note_trouble()

    def _note_trouble(self) -> None:
        self._trouble = self._trouble or traceback.format_exc()

    def _take_progress(self, action: Progress, told: list[tuple[str, ...]]) -> None:
        """Grow by the greatest of what was told, each item the groups of a match."""
        if action.wanted is not None and not action.wanted(self):
            return
        share, greatest = action.share, -1.0
        for groups in told:
            try:
                percent = share(self, groups)
            except Exception:  # noqa: BLE001 - as in `act`
                self._note_trouble()
                continue
            if percent is not None and percent > greatest:
                greatest = percent
        if greatest >= 0:
            (self.grow_task if action.whole else self.grow_frame)(greatest)

    # What actions do.

    @progress_only
    def next_frame(self) -> None:
        """The present frame is done."""
        self.frame = min(self.frame + 1, max(1, self.numframes))
        if self.numframes > 1:
            self.percentframe = 0
        self._moved = True

    @progress_only
    def grow_frame(self, percent: float) -> None:
        """So much of the present frame is done; less than before changes nothing."""
        if percent > self.percentframe:
            self.percentframe = int(min(percent, 100))
            self._moved = True

    @progress_only
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


def _has_known_methods(made: type[RuleParser]) -> bool:
    """Whether the methods that actions call are ours or marked: others may do anything."""
    return made.appendFile is parser.appendFile and all(
        is_progress(getattr(made, name, new_frame)) for name in _MOVES
    )


def _find_lines(
    token: str, index: int, text: str, done: int, hits: list[tuple[int, int, int]]
) -> None:
    find, rfind = text.find, text.rfind
    at = find(token, done)
    while at >= 0:
        end = find("\n", at) + 1 or len(text)
        hits.append((rfind("\n", 0, at) + 1, index, end))
        at = find(token, end)


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
    """What the line of the match announces, whether the match is of that line or of many."""
    text = found.string
    start = text.rfind("\n", 0, found.start()) + 1
    parser.findImage(text[start : line_end(text, start)].rstrip("\n"))


MARKERS = (
    rule(ACTIVITY, rf".*{ACTIVITY}[ \t]*(\S.*)", activity),
    rule(REPORT, rf".*{REPORT}[ \t]*(\S.*)", report),
    rule("@IMAGE", r"@IMAGE!?@", Aside(_image_line, "each", "files")),
    rule("Image: ", r"^Image: (?!.*@IMAGE@)", _image_line),
)
"""What the base class looks for, as rules."""
