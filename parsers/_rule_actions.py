"""What the rules of a `RuleParser` are made of: see `parsers._rules`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeAlias, TypeVar

__all__ = (
    "Action",
    "Aside",
    "Found",
    "Progress",
    "Rule",
    "RuleTarget",
    "activity",
    "fraction",
    "frame_done",
    "frame_end",
    "frame_percent",
    "frame_share",
    "image",
    "image_onthefly",
    "is_progress",
    "mark",
    "new_frame",
    "progress_only",
    "report",
    "rule",
    "say",
    "task_percent",
    "task_share",
)

Found: TypeAlias = re.Match[str]
Action: TypeAlias = Callable[..., None]
"""Called with the parser and the match."""
Method = TypeVar("Method", bound=Callable[..., object])
Share: TypeAlias = Callable[..., float | None]
"""Called with the parser and the groups of a match; percents, or None for nothing told."""

_FLAGS = ("warning", "error", "badresult", "fatalerror", "finishedsuccess")
_PLAIN_START = re.compile(r"(?:[\w @:=\"'!,-]|\\[^\w\s]){3}(?![*+?{])")
_MAY_CROSS_LINES = re.compile(r"\\[sWDnr]|\[\^|\(\?[a-z]*s|\\x0|\\[AZ]")


class RuleTarget(Protocol):
    """What actions and the reading in bulk use of a `RuleParser`."""

    frame: int
    percentframe: int
    numframes: int
    activity: str
    report: str
    marked: str | None

    def appendFile(self, i_file: str, i_onthefly: bool = False) -> None: ...

    def next_frame(self) -> None: ...

    def grow_frame(self, percent: float) -> None: ...

    def grow_task(self, percent: float) -> None: ...

    def act(self, action: Action, found: Found) -> None: ...

    def take_progress(self, rules: list[Rule], text: str, start: int, end: int) -> None: ...

    def forget_repeated(self) -> None: ...


class Progress(NamedTuple):
    """The kind of action that only says how much is done.

    Many in a row come to no more than the greatest, so they are looked at in bulk.
    """

    whole: bool
    """Whether it is the task that has come so far, or the present frame."""
    share: Share
    """Percents from the groups of a match (an empty text for one that did not match), or None."""
    wanted: Callable[..., bool] | None = None
    """Called with the parser: whether it can tell at all, as long as no other rule acts."""


class Aside:
    """The kind of action that progress does not depend on: texts, flags, files, figures.

    Where all others of a table touch nothing but progress (`progress_only`), these are done for
    a whole portion at once, and only as often as it makes a difference.
    """

    __slots__ = ("_act", "attribute", "counts")

    def __init__(self, act: Action, counts: str, attribute: str = "") -> None:
        self._act = act
        self.counts = counts
        """Which matches: the ``first`` alone, the ``last`` that says something, or ``each``."""
        self.attribute = attribute
        """What it sets; order matters only among those that set the same."""

    def __call__(self, parser: RuleTarget, found: Found) -> None:
        self._act(parser, found)


class Rule(NamedTuple):
    """Made by `rule`."""

    token: str
    pattern: re.Pattern[str]
    action: Action | Progress | Aside
    within: bool
    """Whether all matches in a text of many lines are those in its lines that hold the token."""

    fast: bool
    """Whether such a text may be searched at once, and the pattern begins with plain text, which
    makes that as fast as a search for plain text."""

    @property
    def bulk(self) -> bool:
        """Whether it says how much is done and may be searched for in many lines at once."""
        return self.within and isinstance(self.action, Progress)


def rule(token: str, pattern: str, action: Action | Progress) -> Rule:
    """Do `action` for each match of `pattern` in each line that holds `token`.

    The token is plain text and there for speed: one that is long and rare is best. An action is
    called with the parser and the match. Progress is fastest where the pattern spells the token
    out and has neither alternatives nor classes that a line's end belongs to.
    """
    if not token:
        raise ValueError("a rule needs a text to look for")
    within = _matches_within_lines(token, pattern)
    fast = within and _PLAIN_START.match(pattern) is not None
    return Rule(token, re.compile(pattern, re.MULTILINE), action, within, fast)


def _matches_within_lines(token: str, pattern: str) -> bool:
    """Whether each match surely lies in one line and holds the token; False when in doubt."""
    spelled = re.sub(r"\\(.)", r"\1", pattern)
    alternatives = "|" in re.sub(r"\\.", "", pattern)
    return token in spelled and not alternatives and not _MAY_CROSS_LINES.search(pattern)


_only_progress: set[object] = set()


def progress_only(function: Method) -> Method:
    """Mark an action, or a method that changes progress: it touches no texts, flags or files."""
    _only_progress.add(function)
    return function


def is_progress(function: object) -> bool:
    """Whether it was marked by `progress_only`."""
    return function in _only_progress


# Progress.


def fraction(parser: RuleTarget, groups: tuple[str, ...]) -> float | None:
    """The first group as a number, or first of second (``12/64``); None for a part of nothing."""
    if len(groups) == 1 or not groups[1]:
        return float(groups[0])
    whole = float(groups[1])
    return 100 * float(groups[0]) / whole if whole > 0 else None


frame_percent = Progress(False, fraction)
"""Percents of the present frame: ``(\\d+)%`` or ``(\\d+)/(\\d+)``."""

task_percent = Progress(True, fraction)
"""Percents of the whole task."""


def frame_share(share: Share, wanted: Callable[..., bool] | None = None) -> Progress:
    """Percents of the present frame, worked out by a function of parser and groups."""
    return Progress(False, share, wanted)


def task_share(share: Share, wanted: Callable[..., bool] | None = None) -> Progress:
    """Percents of the whole task, worked out by a function of parser and groups."""
    return Progress(True, share, wanted)


# Frames.


@progress_only
def new_frame(parser: RuleTarget, found: Found) -> None:
    """A frame begins: the one before is done, if there was one.

    With a group in the pattern only a text other than the last one is another frame.
    """
    told = found.group(1) if found.re.groups else None
    if parser.marked is not None and (told is None or told != parser.marked):
        parser.next_frame()
    parser.marked = told or ""


@progress_only
def frame_done(parser: RuleTarget, found: Found) -> None:
    """A frame has ended (or was skipped)."""
    parser.next_frame()


@progress_only
def frame_end(parser: RuleTarget, found: Found) -> None:
    """The present frame is complete, but only the beginning of the next one counts it."""
    parser.grow_frame(100)


# Files, texts, flags.


def _last_group(found: Found) -> str:
    return str(found.group(found.lastindex or 0))


def _image(parser: RuleTarget, found: Found) -> None:
    parser.appendFile(_last_group(found))


def _image_onthefly(parser: RuleTarget, found: Found) -> None:
    parser.appendFile(_last_group(found), True)


def _activity(parser: RuleTarget, found: Found) -> None:
    parser.activity = _last_group(found).strip() or parser.activity


def _report(parser: RuleTarget, found: Found) -> None:
    parser.report = _last_group(found).strip() or parser.report


image = Aside(_image, "each", "files")
"""A file was, or will be, written: its name is the last group that has matched."""

image_onthefly = Aside(_image_onthefly, "each", "files")
"""As `image`, with its thumbnail made at once."""

activity = Aside(_activity, "last", "activity")
"""What the program does now: the last group that has matched."""

report = Aside(_report, "last", "report")
"""Text for the job: the last group that has matched."""


def say(text: str) -> Aside:
    """The activity is this text."""

    def act(parser: RuleTarget, found: Found) -> None:
        parser.activity = text

    return Aside(act, "last", "activity")


def mark(flag: str) -> Aside:
    """Set a flag (``error``, ``warning``, ...) where plain texts are not enough."""
    if flag not in _FLAGS:
        raise ValueError(f"no flag {flag!r}")

    def act(parser: RuleTarget, found: Found) -> None:
        setattr(parser, flag, True)

    return Aside(act, "first", flag)
