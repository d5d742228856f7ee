"""Strictly typed values of a JSON object. An error names the path of the wrong value.

`protocol.strict_converter` is for messages, whose shape is fixed. A job file has keys with several
spellings, defaults that depend on other keys, and errors that quote the value for its author.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TypeVar

from trio_afrender.errors import JobError
from trio_afrender.text import show_json

__all__ = ("Fields", "is_meaningful")

_T = TypeVar("_T")
_INT_LIMIT = 2**53
"""Larger integers may have lost digits: other JSON programs read them as doubles."""


def is_meaningful(value: object) -> bool:
    """Whether a value has an effect: not empty, zero, false, null or Afanasy's -1."""
    return bool(value) and value != -1


class Fields:
    """A JSON object of a job file. A missing key gives the default, a wrong type a `JobError`.

    Keys that are never read are no errors: saved jobs have many.
    """

    def __init__(self, data: object, path: str) -> None:
        if not isinstance(data, dict):
            raise JobError(path, f"expected an object, found {show_json(data)}")
        self.data: dict[str, object] = data
        self.path = path

    def at(self, key: str) -> str:
        """The path of a key, for messages."""
        return f"{self.path}.{key}" if self.path else key

    def __contains__(self, key: str) -> bool:
        return key in self.data

    def _get(self, key: str, default: _T, check: Callable[[object, str], _T]) -> _T:
        return check(self.data[key], self.at(key)) if key in self.data else default

    def text(self, key: str, default: str = "") -> str:
        return self._get(key, default, _text)

    def number(self, key: str, default: int) -> int:
        return self._get(key, default, _number)

    def flag(self, key: str) -> bool:
        return self._get(key, default=False, check=_flag)

    def choice(self, key: str, allowed: tuple[str, ...], default: str) -> str:
        """One of the `allowed` strings; `default` for none and for an empty one."""
        text = self.text(key) or default
        if text not in allowed:
            known = " or ".join(f'"{name}"' for name in allowed)
            raise JobError(self.at(key), f"expected {known}, found {show_json(text)}")
        return text

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings. Older jobs have one string with ``;`` as separator."""
        value = self.data.get(key, ())
        if isinstance(value, str):
            return tuple(part for part in value.split(";") if part)
        items = enumerate(_list(value, self.at(key)))
        return tuple(_text(item, f"{self.at(key)}[{i}]") for i, item in items)

    def table(self, key: str) -> dict[str, str]:
        """An object whose values are strings, such as an environment."""
        table = Fields(self.data.get(key, {}), self.at(key))
        return {name: table.text(name) for name in table.data}

    def pattern(self, key: str) -> str:
        """A string that is a regular expression."""
        text = self.text(key)
        try:
            re.compile(text)
        except (re.error, RecursionError, OverflowError) as error:
            raise JobError(self.at(key), f"not a regular expression: {error}") from None
        return text

    def objects(self, key: str) -> Iterator[Fields]:
        """The objects of a list, one by one."""
        for i, item in enumerate(_list(self.data.get(key, []), self.at(key))):
            yield Fields(item, f"{self.at(key)}[{i}]")

    def meaningful(self, keys: tuple[str, ...]) -> Iterator[str]:
        """Those of `keys` that are given and have an effect."""
        return (key for key in keys if is_meaningful(self.data.get(key)))


def _text(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise JobError(path, f"expected str, found {show_json(value)}")
    if "\0" in value:
        raise JobError(path, "contains a NUL character, which no command or path can contain")
    return value


def _number(value: object, path: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise JobError(path, f"expected int, found {show_json(value)}")
    if abs(value) > _INT_LIMIT:
        raise JobError(path, f"{show_json(value)} is too large a number")
    return value


def _flag(value: object, path: str) -> bool:
    if not isinstance(value, bool):
        raise JobError(path, f"expected true or false, found {show_json(value)}")
    return value


def _list(value: object, path: str) -> list[object] | tuple[object, ...]:
    if not isinstance(value, list | tuple):
        raise JobError(path, f"expected a list, found {show_json(value)}")
    return value
