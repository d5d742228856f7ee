r"""Tables of what programs print about failures, and the search for those texts.

One table a program, shared by all parsers in whose tasks the program may run:

    ARNOLD = Messages(
        markers=(like("ERROR", START + r"... ERROR +\|"),),
        fatal=("aborting render because",),
        aborts=("render terminating early",),
        ignored=("rendering with watermarks",),  # a still of a licence test, Arnold's manual, "Licensing"
        assets=(like("could not open file", r"Could not open file \"(.+?)\""),),
    )

A text is plain (the case of letters is ignored) or a pattern made by `like`. A plain text counts at
word boundaries only, and no text counts inside a quoted name, a path or the echo of a command: the
name of a folder must not end a render. An ignored text makes its line mean nothing, whatever else is
in it; missing files and markers count only in lines without an error.

Speed: lines that differ only in their digits have one shape. A shape is searched once for one word of
each text or token (`_STEMS`, else the whole of it); lines with such a word are read one by one. So a
token must be rare: a word that is in each line of progress (render, device, camera) makes the parser
many times slower. The number of words matters little.
A pattern is tried at each place of a line where it may begin, so what it repeats behind that is bounded
(``.{0,300}``): else a line that repeats its begin takes seconds.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

from parsers._rule_actions import compile_pattern
from parsers._shapes import LineShapes, TextIndex, find_lines, shapes_of

__all__ = (
    "FEW_TEXTS",
    "START",
    "Messages",
    "Pattern",
    "Scanner",
    "Verdict",
    "is_protected",
    "like",
    "make_scanner",
)

START = r"^(?:\[[^\]\n]{1,60}\][ :]*|\d[\d:./,\-]{2,30}[ ;|]+(?:[AP]M[ ;|]*)?)*"
"""The begin of a line, with any number of time stamps and names in brackets: programs that run a
renderer put such before its lines."""

_COLOURS = re.compile(r"\x1b\[[\d;]*m")
"""A terminal's colours, which some programs print into a file too."""
_STEMS = (
    "[ parser ", "error", "fail", "warning", "abort", "missing", "licen", "unable", "not ", "n't ", "out of", "invalid",
)  # fmt: skip
"""A batch is searched for these few, not for each text: lines without them are not looked at."""
_MAX_LINE = 4000
_MAX_KEPT = 400
"""Characters of a line that is kept, in the report and elsewhere."""
_OVERLAP = 1000
_LEFT, _RIGHT = r"(?<![\w/\\])(?<![\w]-)", r"(?![\w/\\]|[-.]\w)"

_PROTECTED = re.compile(
    r"""
    "[^"\n]{1,500}"
    | (?<!\w)'(?:[^'\n]|'(?=\w)){1,500}'(?!\w)
    | `[^`'\n]{1,500}['`]
    | \u201c[^\u201d\n]{1,500}\u201d
    | (?<![\w/\\.])
      (?:[A-Za-z]:[\\/]|\\\\|~/|\.{0,2}/|[A-Za-z][\w+-]{1,20}://|(?=[\w.@%+-]{2,60}[\\/]\w))
      [^\s"'<>|,;]{0,500}
      (?:(?<![:,;.)\]])(?<!\.\w\w)(?<!\.\w{3})(?<!\.\w{4})  # a name with spaces continues
         (?:[ ][^\s/\\:,;"']{1,40}){0,3}?[ ](?![.~\d])[^\s/\\:,;"']{1,60}[\\/][^\s"'<>|,;]{0,500}
      ){0,8}
    """,
    re.VERBOSE,
)
_COLOURS = re.compile(r"\x1b\[[\d;]*[A-Za-z]")
_ECHO = re.compile(
    r"\s*(?:\[[^\]\n]{0,60}\]\s*)?(?:\+{1,3} |\$ |(?:(?:launch|render|full|child|shell|running|executing)[ _-])?"
    r"(?:command(?:[ _-]?line)?|cmd(?:line)?|arg(?:ument)?s|argv|executing|running|launching|invoking|spawning)"
    r"\s*[:=]\s)",
    re.IGNORECASE,
)


class Pattern(NamedTuple):
    """A regular expression, tried only in lines that contain the token."""

    token: str
    pattern: re.Pattern[str]


def like(token: str, pattern: str) -> Pattern:
    """Make a pattern for lines that contain `token`; upper and lower case are different in the pattern.

    Raises ValueError for an empty token or a pattern that is no regular expression.
    """
    if not token:
        raise ValueError("a pattern needs a text to look for")
    return Pattern(token.lower(), compile_pattern(token, pattern))


class Messages(NamedTuple):
    """What one program prints about failures. Each item is a plain text or made by `like`."""

    markers: tuple[str | Pattern, ...] = ()
    """What the program itself puts before an error: a warning, and the line is reported."""
    fatal: tuple[str | Pattern, ...] = ()
    """The frame is spoiled and no other will be better: an error, which stops the task."""
    bad: tuple[str | Pattern, ...] = ()
    """The frame is spoiled, others may be good: a bad result."""
    aborts: tuple[str | Pattern, ...] = ()
    """The frame ends early: a bad result, and the frame is never complete."""
    assets: tuple[str | Pattern, ...] = ()
    """A file is missing and the render continues: a warning. The first group that matched names it."""
    ignored: tuple[str | Pattern, ...] = ()
    """Lines that look like errors but are none; each with its source."""
    errors: tuple[str | Pattern, ...] = ()
    """As `fatal`, but what the program reports of its progress behind it counts."""
    warnings: tuple[str | Pattern, ...] = ()
    """A warning that is not reported."""
    fatal_errors: tuple[str | Pattern, ...] = ()
    """As `fatal`, and the task is not tried again."""
    successes: tuple[str | Pattern, ...] = ()
    """The work is done although the program may continue."""
    words: tuple[str, ...] = ()
    """If given: of any line that this table is for, one of these words. Then only they are searched
    for, not a word of each text."""


class Verdict(NamedTuple):
    """What a line means."""

    flags: tuple[str, ...]
    aborts: bool = False
    """Whether the frame is not complete from here on."""
    reported: bool = False
    asset: str = ""
    """The name of the missing file."""
    is_asset: bool = False
    """Whether it is about a missing file, also one without a name."""
    is_marker: bool = False
    """Whether the program calls it an error and no more is known."""


_FLAGS = {
    "fatal_errors": "fatalerror",
    "fatal": "error",
    "errors": "error",
    "aborts": "badresult",
    "bad": "badresult",
    "successes": "finishedsuccess",
    "warnings": "warning",
}
"""The flags of these kinds of texts. Assets and markers count only in lines without any of these."""
FEW_TEXTS = 8
"""Texts up to which a search for each of them takes less time than the shapes of all lines."""
_KINDS = (*_FLAGS, "assets", "markers", "ignored")
_STOPPING = {"fatal_errors", "fatal", "errors"}
_ABORTING = {"fatal_errors", "fatal", "aborts"}
_REPORTED = {*_STOPPING, "aborts", "bad"}


class Scanner:
    """Searches batches for the texts of several tables."""

    def __init__(self, tables: tuple[Messages, ...]) -> None:
        self._tried = {
            kind: tuple(_Text(one) for one in dict.fromkeys(_texts_of(tables, kind)))
            for kind in _KINDS
        }
        self._triggers = _choose_triggers(tables)
        self._index = TextIndex(self._triggers)
        self.needs_shapes = len(self._triggers) > FEW_TEXTS
        """Whether `scan` is faster with the shapes of all lines."""
        self._judge = lru_cache(256)(self._judge_line)

    def scan(self, text: str, shapes: LineShapes | None = None) -> list[tuple[int, int, Verdict]]:
        """Return the lines that mean anything: start, end, verdict. Line feeds end them.

        `shapes` are those of the lines, if known.
        """
        if not self._triggers:
            return []
        found, judge = [], self._judge
        candidates = self._find_directly(text) if shapes is None and not self.needs_shapes else None
        if candidates is None:
            candidates = self._find_candidates(shapes or shapes_of(text))
        for start, end in candidates:
            line = text[start:end]
            verdict = judge(line) if end - start <= _MAX_LINE else self.judge(line)
            if verdict is not None:
                found.append((start, end, verdict))
        return found

    def _find_directly(self, text: str) -> list[tuple[int, int]] | None:
        """As `_find_candidates`, for few triggers; None where the case changes the length of a text."""
        lowered = text.lower()
        if len(lowered) != len(text):
            return None
        return sorted(find_lines(self._triggers, lowered).items())

    def look_up(self, shapes: LineShapes) -> Collection[str]:
        """Return the shapes of the lines that may mean anything."""
        return self._index.look_up(shapes.different)

    def _find_candidates(self, shapes: LineShapes) -> list[tuple[int, int]]:
        """Return start and end of the lines with a trigger."""
        candidates = self.look_up(shapes)
        if not candidates:
            return []
        numbers = [number for number, shape in enumerate(shapes.lines) if shape in candidates]
        lengths = list(accumulate(map(len, shapes.lines), initial=0))
        # Each line before has a line feed too.
        return [(lengths[one] + one, lengths[one + 1] + one) for one in numbers]

    def judge(self, line: str) -> Verdict | None:
        """Return what a line means; of a long one, the first part that means anything."""
        if len(line) <= _MAX_LINE:
            return self._judge(line)
        for start in range(0, len(line), _MAX_LINE - _OVERLAP):
            # Only the first part has the line's begin, to which patterns may be tied.
            part = line[start : start + _MAX_LINE]
            if verdict := self._judge(part if start == 0 else f"\0{part}"):
                return verdict
        return None

    def _judge_line(self, line: str) -> Verdict | None:
        if "\x1b" in line:
            line = _COLOURS.sub("", line)
        line = line.replace("\u2019", "'")  # After Effects prints can\u2019t
        lowered = line.lower()
        if self._finds("ignored", line, lowered) is not None or _ECHO.match(line):
            return None
        kinds = {kind for kind in _FLAGS if self._finds(kind, line, lowered) is not None}
        if not kinds.isdisjoint(_STOPPING):
            kinds.discard("aborts")  # an error says it all
        if kinds - {"warnings"}:
            flags = tuple(dict.fromkeys(flag for kind, flag in _FLAGS.items() if kind in kinds))
            failed = not kinds.isdisjoint(_REPORTED)
            return Verdict(flags, aborts=not kinds.isdisjoint(_ABORTING), reported=failed)
        if (asset := self._finds("assets", line, lowered)) is not None:
            return Verdict(("warning",), reported=not asset, asset=asset, is_asset=True)
        if self._finds("markers", line, lowered) is not None:
            return Verdict(("warning",), reported=True, is_marker=True)
        return Verdict(("warning",)) if kinds else None

    def _finds(self, kind: str, line: str, lowered: str) -> str | None:
        """Return the first group of the first text of that kind that counts in the line."""
        for one in self._tried[kind]:
            if one.token in lowered and (found := one.search(line)) is not None:
                groups = (group for group in found.groups() if group)
                return next(groups, "").strip()
        return None


def _texts_of(tables: Iterable[Messages], kind: str) -> list[str | Pattern]:
    return [one for table in tables for one in getattr(table, kind)]


class _Text:
    """One text of a table."""

    def __init__(self, text: str | Pattern) -> None:
        if isinstance(text, str):
            self.token = text.lower()
            self._pattern = _bounded(text)
        else:
            self.token, self._pattern = text

    def search(self, line: str) -> re.Match[str] | None:
        """Return the first match that is not protected."""
        found = self._pattern.search(line)
        while found is not None and is_protected(line, found):
            found = self._pattern.search(line, found.start() + 1)
        return found


def is_protected(line: str, found: re.Match[str]) -> bool:
    """Whether a match lies in a quoted name or a path of its line."""
    start, end = found.span()
    for name in _PROTECTED.finditer(line):
        if name.start() > start:
            return False
        if start < name.end() and (name.start() < start or end < name.end()):
            return True
    return False


@lru_cache(256)
def make_scanner(tables: tuple[Messages, ...]) -> Scanner:
    """Return the scanner of these tables; parsers of one class share it."""
    return Scanner(tables)


def _bounded(text: str) -> re.Pattern[str]:
    left = _LEFT if re.match(r"\w", text) else ""
    right = _RIGHT if re.search(r"\w\Z", text) else ""
    return re.compile(left + re.escape(text) + right, re.IGNORECASE)


def _choose_triggers(tables: tuple[Messages, ...]) -> tuple[str, ...]:
    """Return texts of which one is in any line that means something; few, since each costs time."""
    triggers = [word.lower() for table in tables for word in table.words]
    open_tables = [table for table in tables if not table.words]
    for kind in _KINDS:
        for text in _texts_of(open_tables, kind) if kind != "ignored" else ():
            token = text.lower() if isinstance(text, str) else text.token
            if not any(trigger in token for trigger in triggers):
                triggers.append(next((stem for stem in _STEMS if stem in token), token))
    # A text that was added before a shorter one that it contains needs no search of its own.
    return tuple(
        one
        for one in dict.fromkeys(triggers)
        if not any(two in one for two in triggers if two != one)
    )
