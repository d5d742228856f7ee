"""The rules of a `RuleParser` and what they do for a match; `parsers._rules` applies them."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import compress, count, islice, repeat
from operator import gt, itemgetter, ne
from typing import NamedTuple, Protocol, TypeAlias, TypeVar

__all__ = (
    "Action",
    "Aside",
    "Found",
    "Mark",
    "Progress",
    "Rule",
    "RuleTarget",
    "activity",
    "compile_pattern",
    "find_turns",
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
"""Called with the parser and the groups of a match; returns percents, or None to skip it."""

_FLAGS = ("warning", "error", "badresult", "fatalerror", "finishedsuccess")
_PLAIN_START = re.compile(r"(?:[\w @:=\"'!,-]|\\[^\w\s]){3}(?![*+?{])")
_PLAIN_TEXT = re.compile(r"(?:[A-Za-z\d @:=,-](?![*+?{])){3,}")
_MAY_CROSS_LINES = re.compile(r"\\[sWDnr]|\[\^|\(\?[a-z]*s|\\x0|\\[AZ]")


class RuleTarget(Protocol):
    """What actions, and the reading of many lines at once, use of a `RuleParser`."""

    frame: int
    percentframe: int
    numframes: int
    activity: str
    report: str
    frame_name: str | None

    def appendFile(self, i_file: str, i_onthefly: bool = False) -> None: ...

    aborted: bool

    def begin_frame(self) -> None: ...

    def next_frame(self) -> None: ...

    def grow_frame(self, percent: float) -> None: ...

    def grow_task(self, percent: float) -> None: ...

    def act(self, action: Action, found: Found) -> None: ...

    def take_progress(self, rules: list[Rule], text: str, start: int, end: int) -> None: ...

    def forget_repeated(self) -> None: ...


class Progress(NamedTuple):
    """An action that only reports how much is done.

    Of many in a row only the greatest counts, so they are read in bulk.
    """

    of_task: bool
    """Whether the percents are of the whole task, or of the current frame."""
    share: Share
    """Returns percents for the groups of a match; a group that did not match is an empty text."""
    condition: Callable[..., bool] | None = None
    """Called with the parser: whether the percents count at present. Its result must not change
    while no other rule acts."""
    follows_fraction: bool = False
    """Whether the percents depend on the `fraction` of each match and on its falls alone: of matches
    whose fractions rise, the first and the last are enough."""


class Aside:
    """An action that changes no progress: it sets texts, flags, files or figures.

    If all other rules of a table change nothing but progress (`progress_only`), asides are applied
    to a whole batch at once, and only to the matches that make a difference.
    """

    __slots__ = ("_act", "attribute", "counts")

    def __init__(self, act: Action, counts: str, attribute: str = "") -> None:
        self._act = act
        self.counts = counts
        """The matches that count: the ``first``, the ``last`` with a text, or ``each``."""
        self.attribute = attribute
        """What it sets. The order of asides matters only if they set the same attribute."""

    def __call__(self, parser: RuleTarget, found: Found) -> None:
        self._act(parser, found)


class Mark(Aside):
    """Sets a flag. Such rules are searched for with the texts of failures (`parsers._messages`)."""

    __slots__ = ()


class Rule(NamedTuple):
    """A row of the table of a `RuleParser`, made by `rule`."""

    token: str
    pattern: re.Pattern[str]
    action: Action | Progress | Aside
    line_bound: bool
    """Whether the matches in a text of many lines are exactly those in its lines with the token."""
    fast: bool
    """Whether it is `line_bound` and its pattern begins with plain text. A search for the pattern
    in a whole batch is then as fast as a search for plain text."""
    anchor: str
    """A text that each line with a match contains, and few others: shapes of lines have no digits."""

    @property
    def bulk(self) -> bool:
        """Whether it reports progress and may be searched for in many lines at once."""
        return self.line_bound and isinstance(self.action, Progress)


def rule(token: str, pattern: str, action: Action | Progress) -> Rule:
    """Make a rule: for each match of `pattern` in each line that contains `token`, do `action`.

    The token is plain text; it is searched first, for speed, so a long and rare one is best. An
    action is called with the parser and the match. Progress is fastest if the pattern spells out
    the token and has neither alternatives nor character classes that include line ends. Raises
    ValueError for an empty token or a pattern that is no regular expression.
    """
    if not token:
        raise ValueError("a rule needs a text to look for")
    line_bound = _matches_within_lines(token, pattern)
    fast = line_bound and _PLAIN_START.match(pattern) is not None
    compiled = compile_pattern(token, pattern, re.MULTILINE)
    return Rule(token, compiled, action, line_bound, fast, _choose_anchor(token, pattern))


def _choose_anchor(token: str, pattern: str) -> str:
    """Return the token; for one of digits alone the plain text with which the pattern begins."""
    if any(char.isalpha() for char in token) or "|" in pattern:
        return token
    found = _PLAIN_TEXT.match(pattern)
    return found.group() if found is not None else token


def compile_pattern(token: str, pattern: str, flags: int = 0) -> re.Pattern[str]:
    """Compile the pattern for lines with a token. Raises ValueError that names a wrong one."""
    try:
        return re.compile(pattern, flags)
    except re.error as error:
        raise ValueError(
            f"the pattern {pattern!r} for lines with {token!r} is no regular expression: {error}"
        ) from error


def _matches_within_lines(token: str, pattern: str) -> bool:
    """Whether each match certainly lies in one line and contains the token."""
    spelled = re.sub(r"\\(.)", r"\1", pattern)
    alternatives = "|" in re.sub(r"\\.", "", pattern)
    return token in spelled and not alternatives and not _MAY_CROSS_LINES.search(pattern)


_only_progress: set[object] = set()


def progress_only(function: Method) -> Method:
    """Mark an action, or a method that changes progress: it changes no texts, flags or files."""
    _only_progress.add(function)
    return function


def is_progress(function: object) -> bool:
    """Whether a function was marked by `progress_only`."""
    return function in _only_progress


# Progress.


def fraction(parser: RuleTarget, groups: tuple[str, ...]) -> float | None:
    """Return the first group as percents, or first of second (``12/64``); None for a part of 0."""
    if len(groups) == 1 or not groups[1]:
        return float(groups[0])
    total = float(groups[1])
    return 100 * float(groups[0]) / total if total > 0 else None


def find_turns(matches: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Leave out the matches, given by their groups, between a rise and a rise of their `fraction`."""
    first = matches[0]
    if len(first) > 1 and any(map(ne, map(itemgetter(1), matches), repeat(first[1]))):
        return matches  # parts of different wholes
    try:
        parts = list(map(float, map(itemgetter(0), matches)))
    except ValueError:
        return matches  # an optional group that did not match
    falls = list(compress(count(), map(gt, parts, islice(parts, 1, None))))
    turns = sorted({0, len(matches) - 1, *falls, *(each + 1 for each in falls)})
    return [matches[each] for each in turns]


frame_percent = Progress(False, fraction, None, True)
"""Percents of the current frame: ``(\\d+)%`` or ``(\\d+)/(\\d+)``."""

task_percent = Progress(True, fraction, None, True)
"""Percents of the whole task."""


def frame_share(
    share: Share,
    condition: Callable[..., bool] | None = None,
    *,
    follows_fraction: bool = False,
) -> Progress:
    """Percents of the current frame, computed by a function of parser and groups."""
    return Progress(False, share, condition, follows_fraction or share is fraction)


def task_share(share: Share, condition: Callable[..., bool] | None = None) -> Progress:
    """Percents of the whole task, computed by a function of parser and groups."""
    return Progress(True, share, condition, share is fraction)


# Frames.


@progress_only
def new_frame(parser: RuleTarget, found: Found) -> None:
    """A frame begins: the frame before is done, if there was one.

    If the pattern has a group, its text names the frame: only another name is another frame.
    """
    name = found.group(1) if found.re.groups else None
    if parser.frame_name is not None and (name is None or name != parser.frame_name):
        parser.begin_frame()
    parser.frame_name = name or ""


@progress_only
def frame_done(parser: RuleTarget, found: Found) -> None:
    """A frame is done, or was skipped."""
    parser.next_frame()


@progress_only
def frame_end(parser: RuleTarget, found: Found) -> None:
    """The current frame is at 100 %, but only the beginning of the next one counts it."""
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
"""A file is written, or will be: its name is the last group that matched."""

image_onthefly = Aside(_image_onthefly, "each", "files")
"""As `image`, with a thumbnail at once."""

activity = Aside(_activity, "last", "activity")
"""The current activity: the last group that matched."""

report = Aside(_report, "last", "report")
"""A text for the job: the last group that matched."""


def say(text: str) -> Aside:
    """Set the activity to this text."""

    def act(parser: RuleTarget, found: Found) -> None:
        parser.activity = text

    return Aside(act, "last", "activity")


def mark(flag: str) -> Aside:
    """Set a flag (``error``, ``warning``, ...) by a pattern. Raises ValueError for other names."""
    if flag not in _FLAGS:
        raise ValueError(f"no flag {flag!r}")

    def act(parser: RuleTarget, found: Found) -> None:
        setattr(parser, flag, True)

    return Mark(act, "first", flag)
