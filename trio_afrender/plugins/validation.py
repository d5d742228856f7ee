"""Checks values that plugins return and attributes that they set: a wrong type is a problem, not a crash.

Numbers must be ints and flags bools, as Afanasy's own host requires, with one exception: a float is
truncated, because a percent computed by a division is the commonest mistake and must not stop the
progress.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import attrs

from trio_afrender.plugins.interfaces import ParserState
from trio_afrender.text import fit_names

__all__ = (
    "StateReader",
    "merge_states",
    "read_facts",
    "read_flag",
    "read_map",
    "read_number",
    "read_seconds",
    "read_text",
    "read_texts",
    "without_changes",
)

NUMBERS = ("percent", "frame", "percentframe")
CHANGED = "progress_changed"
FLAGS = ("warning", "error", "badresult", "fatalerror", "finishedsuccess", CHANGED)
TEXTS = ("activity", "report", "resources")
T = TypeVar("T")

MAX_NUMBER = 2**31 - 1
MAX_TEXT = 64 * 1024
"""Characters of an activity, a report or a resources text."""
MAX_LINE = 1000
"""Characters of a line or a name that is quoted."""
MAX_MISSING = 20
"""Names of missing files."""
MAX_NAMES = 1024 * 1024
"""Characters of all file names in one answer, which bounds the size of its frame."""


def read_text(value: object) -> str | None:
    """A str, or bytes decoded as UTF-8; None for other types."""
    if isinstance(value, str):
        return str(value)
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else None


def read_texts(value: object) -> tuple[str, ...] | None:
    """The texts of a list or tuple, without items of other types; None for other types."""
    if not isinstance(value, list | tuple):
        return None
    texts = (read_text(item) for item in value)
    return tuple(text for text in texts if text is not None)


def read_map(value: object) -> dict[str, str] | None:
    """The pairs of texts of a dict, without pairs of other types; None for other types."""
    if not isinstance(value, dict):
        return None
    pairs = ((read_text(key), read_text(item)) for key, item in value.items())
    return {key: item for key, item in pairs if key is not None and item is not None}


def read_number(value: object) -> int | None:
    """An int of 32 bits; a float is truncated, a bool is 0 or 1. None for anything else."""
    if type(value) not in (int, bool) and not isinstance(value, float):
        return None
    assert isinstance(value, int | float)  # noqa: S101 - repeats the test above for mypy
    # In this order: an int with hundreds of digits has no float, which `isfinite` would make of it.
    if abs(value) > MAX_NUMBER or not math.isfinite(value):
        return None
    return int(value)


def read_flag(value: object) -> bool | None:
    """A bool; None for other types, ints too."""
    return value if isinstance(value, bool) else None


def read_seconds(value: object) -> float | None:
    """A finite number of seconds, 0 or more; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= sys.float_info.max else None


def read_facts(parser: object) -> dict[str, Any]:
    """The deciding line and the missing files of a parser, as fields of `ParserState`.

    A parser that is derived from another base class has none of them, and one with values of other
    types has none either: they are for people.
    """
    facts: dict[str, Any] = {}
    try:
        deciding = getattr(parser, "deciding_line", None)
        missing = getattr(parser, "missing_assets", None)
    except (Exception, SystemExit):  # noqa: BLE001 - a property may raise anything
        return facts
    match deciding:
        case (int() as number, str() as text):
            facts |= {"deciding_line": read_number(number) or 0, "deciding_text": text[:MAX_LINE]}
    match missing:
        case (int() as count, (*names,)) if count > 0:
            texts = (text[:MAX_LINE] for text in names[:MAX_MISSING] if isinstance(text, str))
            facts |= {"missing_assets": read_number(count) or 0, "missing_names": tuple(texts)}
    return facts


class StateReader:
    """Reads a parser's attributes after each batch of lines, over all batches of one call.

    A value that cannot be read is reported to `add_problem` and the last one is kept. Texts keep
    their last non-empty value and flags are true if any batch set them, so that the result does not
    depend on where batches end.
    """

    def __init__(self, add_problem: Callable[[str], object]) -> None:
        self._add_problem = add_problem
        self._numbers: dict[str, int] = {}
        self._texts: dict[str, str] = {}
        self._flags: dict[str, bool] = {}
        self._latched: set[str] = set()
        self._facts: dict[str, Any] = {}
        """Which line decided, and which files are missing."""
        self._files: tuple[str, ...] = ()
        self._on_the_fly: list[str] = []

    def read(self, parser: object) -> None:
        """Read the attributes of `parser` after a batch."""
        for name in NUMBERS:
            number = self._get(parser, name, read_number, "an int")
            if number is not None:
                self._numbers[name] = number
        for name in FLAGS:
            flag = self._get(parser, name, read_flag, "a bool")
            if flag is not None:
                self._flags[name] = flag
            if self._flags.get(name):
                self._latched.add(name)
        for name in TEXTS:
            if text := self._get(parser, name, read_text, "a str"):
                self._texts[name] = text[:MAX_TEXT]
        self._facts = read_facts(parser)
        files = self._call(parser, "getFiles")
        if files is not None:
            self._files = files
        self._on_the_fly.extend(self._call(parser, "getFilesOnTheFly") or ())

    def take(self) -> ParserState:
        """The state at the end of a call. Reset what a state reports only once.

        A call without a batch changes nothing: flags stay as the last batch left them.
        """
        # Progress is the exception: without output it does not change.
        kept = {name for name, value in self._flags.items() if value and name != CHANGED}
        values: dict[str, Any] = {**self._numbers, **self._texts, **self._facts}
        values.update(dict.fromkeys(self._latched | kept, True))
        on_the_fly = self._bound("getFilesOnTheFly", tuple(self._on_the_fly))
        state = ParserState(files=self._files, files_onthefly=on_the_fly, **values)
        self._latched.clear()
        self._on_the_fly.clear()
        return state

    def _get(
        self, parser: object, name: str, read: Callable[[object], T | None], wanted: str
    ) -> T | None:
        """An attribute in its right type, None if it has no such value."""
        try:
            value = getattr(parser, name)
            result = read(value)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a property may raise anything
            self._add_problem(f"parser.{name} cannot be read: {type(error).__name__}: {error}")
            return None
        if result is None:
            kind = type(value).__name__
            self._add_problem(f"parser.{name} is {kind}, not {wanted}: the last value is kept")
        return result

    def _call(self, parser: object, name: str) -> tuple[str, ...] | None:
        try:
            value = getattr(parser, name)()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything
            self._add_problem(f"parser.{name}() raised {type(error).__name__}: {error}")
            return None
        names = read_texts(value)
        if names is None:
            self._add_problem(f"parser.{name}() returned {type(value).__name__}, not a list")
            return None
        return self._bound(name, names)

    def _bound(self, name: str, names: tuple[str, ...]) -> tuple[str, ...]:
        bounded = fit_names(names, MAX_NAMES)
        if len(bounded) < len(names):
            self._add_problem(
                f"parser.{name}(): more file names than an answer holds; the first are kept"
            )
        return bounded


def without_changes(state: ParserState) -> ParserState:
    """The state for a call without new output: the last one, without what is reported only once."""
    return attrs.evolve(state, files_onthefly=(), replaced=(), problem="", progress_changed=False)


def merge_states(earlier: ParserState | None, later: ParserState) -> ParserState:
    """Join the states of two calls: flags and what is reported only once of both, else the later one's."""
    if earlier is None:
        return later
    flags: dict[str, Any] = {name: True for name in FLAGS if getattr(earlier, name)}
    return attrs.evolve(
        later,
        files_onthefly=earlier.files_onthefly + later.files_onthefly,
        replaced=earlier.replaced + later.replaced,
        masks=tuple(dict.fromkeys(earlier.masks + later.masks)),
        problem="\n".join(filter(None, (earlier.problem, later.problem))),
        **flags,
    )
