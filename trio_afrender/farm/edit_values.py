"""Values of parameters and operations that users send: types, ranges, and the sentence of a refusal.

Afanasy's server ignores a wrong type and an unknown key, cuts a number that does not fit, and
answers "processed". Here each of them refuses the whole request, before anything has changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from trio_afrender.errors import EditRefused
from trio_afrender.text import compile_mask, show_json, suggest

__all__ = (
    "INT8",
    "INT32",
    "Reader",
    "check_keys",
    "flag",
    "number",
    "one_of",
    "pattern",
    "read_values",
    "show_values",
    "text",
    "text_table",
    "texts",
)

Reader = Callable[[str, object], Any]
"""Checks the value of a key and returns it as it is used. Raises `EditRefused`."""

INT8 = 127
INT32 = 2**31 - 1
_MAX_TEXT = 1024 * 1024
"""Characters of a text."""
_MAX_ENTRIES = 10_000
"""Entries of a list or a table."""


def read_values(
    readers: Mapping[str, Reader], values: Mapping[str, object], what: str
) -> dict[str, Any]:
    """Check all values. `what` is what has them, such as ``a job``. Raises `EditRefused`."""
    check_keys(readers, values, what)
    return {key: readers[key](key, value) for key, value in values.items()}


def check_keys(known: Iterable[str], given: Iterable[str], what: str) -> None:
    """Raise `EditRefused` for a key that is not known, with the nearest one that is."""
    names = list(known)
    for key in given:
        if key not in names:
            raise EditRefused(f"{what} has no parameter {show_json(key)}{suggest(key, names)}")


def show_values(values: Mapping[str, object]) -> str:
    """The values as a log shows them: one line for each key, tables entry by entry."""
    lines = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            lines += [f"{key}[{name}]={show_json(entry)}" for name, entry in value.items()]
        else:
            lines.append(f'"{key}" set to {show_json(value, 200)}')
    return "\n".join(lines)


def number(low: int, high: int = INT32) -> Reader:
    """An integer within a range, both ends included."""

    def read(key: str, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise _wrong(key, f"an integer from {low} to {high}", value)
        if not low <= value <= high:
            raise EditRefused(f"{key}: {show_json(value)} is not within {low} to {high}")
        return value

    return read


def flag(key: str, value: object) -> bool:
    """A boolean."""
    if not isinstance(value, bool):
        raise _wrong(key, "true or false", value)
    return value


def text(key: str, value: object) -> str:
    """A string without NUL characters."""
    if not isinstance(value, str):
        raise _wrong(key, "a string", value)
    if "\0" in value:
        raise EditRefused(f"{key}: a NUL character can be in no command and no path")
    if len(value) > _MAX_TEXT:
        raise EditRefused(f"{key}: {len(value):,} characters, more than {_MAX_TEXT:,}")
    return value


def one_of(*allowed: str) -> Reader:
    """One of some strings."""

    def read(key: str, value: object) -> str:
        if value not in allowed or not isinstance(value, str):
            raise _wrong(key, " or ".join(f'"{name}"' for name in allowed), value)
        return value

    return read


def pattern(key: str, value: object) -> str:
    """A string that is a regular expression."""
    expression = text(key, value)
    try:
        compile_mask(expression)
    except (re.error, RecursionError, OverflowError) as error:
        raise EditRefused(
            f"{key}: {show_json(value)} is not a regular expression: {error}"
        ) from None
    return expression


def texts(key: str, value: object) -> tuple[str, ...]:
    """A list of strings."""
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise _wrong(key, "a list of strings", value)
    _check_count(key, len(value))
    return tuple(text(key, item) for item in value)


def text_table(key: str, value: object) -> dict[str, str]:
    """An object whose values are strings."""
    if not isinstance(value, Mapping):
        raise _wrong(key, "an object of strings", value)
    _check_count(key, len(value))
    return {text(key, name): text(f"{key}.{name}", entry) for name, entry in value.items()}


def _check_count(key: str, count: int) -> None:
    if count > _MAX_ENTRIES:
        raise EditRefused(f"{key}: {count:,} entries, more than {_MAX_ENTRIES:,}")


def _wrong(key: str, wanted: str, value: object) -> EditRefused:
    return EditRefused(f"{key}: expected {wanted}, found {show_json(value)}")
