"""What the rules of a `RuleParser` are made of: see `parsers._rules`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from parsers._rules import RuleParser

__all__ = (
    "Found",
    "Progress",
    "Rule",
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

Found: TypeAlias = re.Match[str]
Action: TypeAlias = Callable[["RuleParser", Found], None]
Share: TypeAlias = Callable[..., float | None]
"""Called with the parser and the groups of a match; percents, or None for nothing told."""

_FLAGS = ("warning", "error", "badresult", "fatalerror", "finishedsuccess")
_MAY_CROSS_LINES = re.compile(r"\\[sWDnr]|\[\^|\(\?[a-z]*s|\\x0|\\[AZ]")


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


class Rule(NamedTuple):
    """Made by `rule`."""

    token: str
    pattern: re.Pattern[str]
    action: Action | Progress
    bulk: bool
    """Whether all matches in a text of many lines are those in its lines."""


def rule(token: str, pattern: str, action: Callable[..., None] | Progress) -> Rule:
    """Do `action` for each match of `pattern` in each line that holds `token`.

    The token is plain text and there for speed: one that is long and rare is best. An action is
    called with the parser and the match. Progress is fastest where the pattern spells the token
    out and has neither alternatives nor classes that a line's end belongs to.
    """
    if not token:
        raise ValueError("a rule needs a text to look for")
    bulk = isinstance(action, Progress) and _matches_within_lines(token, pattern)
    return Rule(token, re.compile(pattern, re.MULTILINE), action, bulk)


def _matches_within_lines(token: str, pattern: str) -> bool:
    """Whether each match surely lies in one line and holds the token; False when in doubt."""
    spelled = re.sub(r"\\(.)", r"\1", pattern)
    alternatives = "|" in re.sub(r"\\.", "", pattern)
    return token in spelled and not alternatives and not _MAY_CROSS_LINES.search(pattern)


# Progress.


def fraction(parser: RuleParser, groups: tuple[str, ...]) -> float | None:
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


# Files, texts, flags.


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
    if flag not in _FLAGS:
        raise ValueError(f"no flag {flag!r}")

    def act(parser: RuleParser, found: Found) -> None:
        setattr(parser, flag, True)

    return act
