"""Text made safe or short: names of files, text of peers, near matches for names that are unknown."""

from __future__ import annotations

import codecs
import os
import re
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

from trio_afrender.windows_files import find_reserved_name

__all__ = (
    "MAX_NODE_NAME",
    "base_name",
    "clean_name",
    "compile_mask",
    "count_text",
    "find_near",
    "fit_names",
    "is_node_name",
    "json_size",
    "last_state",
    "name_renders",
    "printable",
    "quote_some",
    "refuse_constant",
    "refuse_repeated",
    "shorten",
    "show_json",
    "suggest",
    "to_bytes",
    "utc_time",
    "whole_utf8_length",
    "without_escapes",
)

_ESCAPES = re.compile(
    r"\x1b(?:\[[0-9;:?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[ -/]*[0-~])?"
)
MAX_NODE_NAME = 255
_MAX_NAME = 200
"""Bytes of a file name; file systems allow 255."""
_NAMED = 3
"""Names that one sentence has."""


def base_name(path: str) -> str:
    """Return the last part of a path of any operating system; '' for "." and ".."."""
    name = path.replace("\\", "/").rpartition("/")[2]
    return "" if name in (".", "..") else name


def is_node_name(name: str) -> bool:
    """Whether a render, a user or a host may have this name: 1 to `MAX_NODE_NAME` printable characters."""
    return 0 < len(name) <= MAX_NODE_NAME and name.isprintable()


def clean_name(name: str) -> str:
    """Return the base name of a file that a render names, '' when nothing usable is left."""
    base = base_name(name)
    if not base.isprintable() or base.strip(". ") == "":
        return ""
    try:
        size = len(base.encode())
    except UnicodeEncodeError:
        return ""
    if os.sep == "\\" and find_reserved_name(base):
        return ""
    return base if size <= _MAX_NAME else ""


def printable(text: str, limit: int = 200) -> str:
    """Return the first `limit` characters of a peer's text, control characters replaced by "?"."""
    return "".join(c if c.isprintable() else "?" for c in text[:limit])


def without_escapes(text: str) -> str:
    """Return a program's output without escape sequences of terminals: colours, titles, links."""
    return _ESCAPES.sub("", text) if "\x1b" in text else text


def last_state(line: str) -> str:
    """Return the last state of a line that a program has overwritten with ``\\r``; '' for a blank one."""
    return next((part for part in reversed(line.split("\r")) if part.strip()), "")


def shorten(text: str, limit: int) -> str:
    """Return at most `limit` characters of `text`, the last three of them "..." if it is longer."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


def show_json(value: object, limit: int = 60) -> str:
    """Return the beginning of a value's JSON, for messages."""
    import json  # here, because --help and errors of the command line do not wait for it

    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except RecursionError:  # where its parser has just not reached the limit
        text = "a value that is nested too deeply"
    return shorten(text, limit)


def refuse_constant(name: str) -> NoReturn:
    """Refuse the constants that Python's JSON parser accepts beyond JSON: NaN, Infinity, -Infinity."""
    raise ValueError(f"{name} is not a JSON number")


def refuse_repeated(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Make an object of a JSON text: a hook for its pairs. Raises ValueError for a key that stands twice."""
    # A real server takes the first of two, most other programs the last one.
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {show_json(key)} stands twice in an object")
            seen.add(key)
    return made


def compile_mask(text: str, flags: int = 0) -> re.Pattern[str]:
    """Compile a regular expression of a user. Raises `re.error`, `RecursionError` or `OverflowError`.

    Python's warnings about texts that it may read in another way one day are left out: such masks are
    written for a server, and the warning would name a line of this program.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return re.compile(text, flags)


def count_text(count: int, noun: str) -> str:
    """Return ``1 job``, ``2 jobs``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def quote_some(names: Sequence[str]) -> str:
    """The first three names, quoted; dots follow if there are more."""
    more = ", ..." if len(names) > _NAMED else ""
    return ", ".join(f'"{name}"' for name in names[:_NAMED]) + more


def name_renders(names: Sequence[str]) -> str:
    """Name one render, or several with their number and the names of the first."""
    if len(names) == 1:
        return f'render "{names[0]}"'
    return f"each of {len(names)} renders ({quote_some(names)})"


def json_size(text: str) -> int:
    """Return the bytes that `text` takes in ASCII JSON, where a character takes up to twelve."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return len(text)
    import json

    return len(json.dumps(text))


def fit_names(
    names: tuple[str, ...], room: int, size: Callable[[str], int] = len
) -> tuple[str, ...]:
    """Return the first names for which there is room, with four characters more for each."""
    for index, name in enumerate(names):
        room -= size(name) + 4
        if room < 0:
            return names[:index]
    return names


def utc_time(seconds: float) -> str:
    """Return a Unix time as every log has it: ``2026-11-30 04:53:34Z``.

    One that is no date of this system, as a peer may send, is returned as a number.
    """
    try:
        return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds))
    except (OverflowError, OSError, ValueError):
        return f"{seconds:g} s"


def to_bytes(text: str) -> bytes:
    """Return the bytes that a program printed: surrogate escapes become the bytes that they stand for.

    A surrogate that stands for no byte makes the text one with replacement characters.
    """
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def whole_utf8_length(data: bytes) -> int:
    """Return how many bytes there are before a character at the end of which bytes are missing."""
    end = data[-3:]  # without its last byte a character has at most three
    return len(data) - len(end) + codecs.utf_8_decode(end, "replace", False)[1]


def find_near(
    name: str, known: Iterable[str], *, count: int = 1, cutoff: float = 0.5
) -> tuple[str, ...]:
    """Return up to `count` of the known names that resemble `name`, ignoring case, the best first."""
    import difflib  # here, because only a mistyped name needs it

    # Sorted, so that of two names that differ in case alone the one in lower case wins.
    spelled = {each.lower(): each for each in sorted(known)}
    # Cut, because the time grows with the square of the length.
    found = difflib.get_close_matches(name[:64].lower(), spelled, n=count, cutoff=cutoff)
    return tuple(spelled[each] for each in found)


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ``, did you mean "x"?`` with the nearest known name, or nothing."""
    return "".join(f', did you mean "{near}"?' for near in find_near(name, known))
