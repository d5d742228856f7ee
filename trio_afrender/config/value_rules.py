"""What values a field of a settings class may have: its type and its range, checked when it is made.

`checked` declares such a field for any class of attrs; the settings of an agent are declared by
`config.settings`, with the same validator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import attrs

from trio_afrender.errors import InvalidSetting
from trio_afrender.text import find_near

__all__ = ("checked", "find_problem", "validate")

_T = TypeVar("_T")
_WORDS = 12
"""Valid words that a message lists; of more it names the nearest alone."""
_MOST_SECONDS = 1e9
"""About thirty years. Timers of the system overflow beyond it."""
_SHOWN_LIMIT = 1_000_000
"""An upper limit that a message names, even if the value is below the lower one."""
_MOST_WHOLE = 2**63 - 1
"""The largest number that all peers store."""


def checked(default: _T, **declared: object) -> _T:
    """Declare a field whose values are checked.

    `declared` are ``least`` (0), ``most``, ``unit``, ``choices``, and ``check``, a function that
    returns what is expected instead of a value, or nothing.
    """
    return attrs.field(default=default, metadata=declared, validator=validate)


def validate(instance: attrs.AttrsInstance, field: attrs.Attribute[Any], value: object) -> None:
    """Raise `InvalidSetting` for a value that the field may not have: a validator of attrs."""
    owner = type(instance)
    kind: object = field.type
    if isinstance(kind, str):  # annotations are texts until the first object is made
        attrs.resolve_types(owner)
        kind = field.type
    if problem := find_problem(kind, value, field.metadata):
        raise InvalidSetting(f"{owner.__name__}.{field.name}", value, problem)


def find_problem(kind: object, value: object, declared: Mapping[str, Any]) -> str:
    """Return what is expected instead of `value`, '' for a valid one. `kind` is a type."""
    if problem := _find_wrong_type(kind, value):
        return problem
    if isinstance(value, float | int) and not isinstance(value, bool):
        return _find_out_of_range(value, declared)
    choices: tuple[str, ...] = declared.get("choices", ())
    words = value if isinstance(value, tuple) else (value,)
    unknown = [word for word in words if isinstance(word, str) and word not in choices]
    if choices and unknown:
        shown = ", ".join(f'"{choice}"' for choice in choices[:_WORDS])
        near = "".join(
            f' (did you mean "{name}"?)'
            for name in find_near(unknown[0], filter(None, choices), cutoff=0.7)
        )
        return f"{'only words of' if isinstance(value, tuple) else 'one of'} {shown}{near}"
    check: Callable[[object], str] | None = declared.get("check")
    return check(value) if check is not None else ""


def _find_wrong_type(kind: object, value: object) -> str:
    """Return what is expected instead of a value of another type."""
    options = [each for each in get_args(kind) if each is not type(None)]
    if type(None) in get_args(kind):
        return "" if value is None else _find_wrong_type(options[0], value)
    if get_origin(kind) is tuple:
        return _find_wrong_item(options[0], value)
    if get_origin(kind) is Mapping:
        right = isinstance(value, Mapping) and all(
            isinstance(each, str) and "\0" not in each for each in (*value, *value.values())
        )
        return "" if right else "a mapping of strings"
    if kind is bool:
        return "" if isinstance(value, bool) else "True or False"
    if kind in (int, float):
        right = isinstance(value, int) or (kind is float and isinstance(value, float))
        return "" if right and not isinstance(value, bool) else _NUMBERS[kind]
    if kind in (str, Path):
        wrong = not isinstance(value, str if kind is str else Path)
        if wrong:
            return "a string" if kind is str else "a pathlib.Path"
        # The system takes no path, name or argument with it.
        return "text without NUL characters" if "\0" in str(value) else ""
    if isinstance(kind, type) and get_origin(kind) is None:
        return "" if isinstance(value, kind) else f"a {kind.__name__}"
    return ""


_NUMBERS: Mapping[object, str] = {int: "a whole number", float: "a number"}


def _find_wrong_item(kind: object, value: object) -> str:
    # A string has items too: Config(services="nuke") would offer the services n, u, k and e.
    if not isinstance(value, tuple):
        return "a tuple"
    if get_origin(kind) is tuple:  # pairs of strings
        length = len(get_args(kind))
        good = all(
            isinstance(item, tuple)
            and len(item) == length
            and all(isinstance(part, str) for part in item)
            for item in value
        )
        return "" if good else f"a tuple of tuples of {length} strings"
    problems = {_find_wrong_type(kind, item) for item in value} - {""}
    return f"a tuple, each item {problems.pop()}" if problems else ""


def _find_out_of_range(value: float, declared: Mapping[str, Any]) -> str:
    least = declared.get("least", 0.0)
    seconds = declared.get("unit") == "seconds"
    limit = declared.get("most", math.inf)
    most = min(limit, _MOST_SECONDS if seconds else _MOST_WHOLE)
    if least <= value <= most:  # false for NaN
        return ""
    unit = f" {declared['unit']}" if declared.get("unit") else ""
    if limit <= _SHOWN_LIMIT or value > most:
        return f"{_figure(least)} to {_figure(most)}{unit}"
    return f"at least {_figure(least)}{unit}"


def _figure(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"
