"""Strictly typed values of a JSON object. An error names the path of the wrong value.

`protocol.strict_converter` is for messages, whose shape is fixed. A job file has keys with several
spellings, defaults that depend on other keys, and errors that quote the value for its author.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from trio_afrender.errors import JobError
from trio_afrender.text import MAX_NODE_NAME, compile_mask, is_node_name, show_json

__all__ = ("INT_LIMIT", "Fields")

_T = TypeVar("_T")
INT_LIMIT = 2**53
"""Larger integers may have lost digits: other JSON programs read them as doubles."""
_MOST_PROBLEMS = 1000
_NONE: Sequence[object] = ()


class Fields:
    """A JSON object of a job file. A missing key gives the default, a wrong type a `JobError`.

    With a list of `problems` nothing is raised: errors are added to it, and a wrong value counts as a
    missing one. Keys that are never read are no errors: saved jobs have many.
    """

    def __init__(self, data: object, path: str, problems: list[JobError] | None = None) -> None:
        self.path = path
        self.problems = problems
        if not isinstance(data, dict):
            self.refuse(path, f"expected an object, found {show_json(data)}")
            data = {}
        self.data: dict[str, object] = data

    def refuse(self, path: str, problem: str) -> None:
        """Raise a `JobError`, or add it to the problems. The caller continues with a default."""
        error = JobError(path, problem)
        if self.problems is None:
            raise error
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(error)

    def at(self, key: str) -> str:
        """The path of a key, for messages."""
        return f"{self.path}.{key}" if self.path else key

    def __contains__(self, key: str) -> bool:
        return key in self.data

    def _get(self, key: str, default: _T, check: Callable[[object, str], _T]) -> _T:
        return (
            self._check(self.data[key], self.at(key), default, check)
            if key in self.data
            else default
        )

    def _check(
        self, value: object, path: str, default: _T, check: Callable[[object, str], _T]
    ) -> _T:
        try:
            return check(value, path)
        except JobError as error:
            self.refuse(error.path, error.problem)
            return default

    def text(self, key: str, default: str = "") -> str:
        return self._get(key, default, _text)

    def node_name(self, key: str) -> str:
        """The name of a user, a render or a host; '' for none."""
        name = self.text(key)
        if name and not is_node_name(name):
            text = f"expected 1 to {MAX_NODE_NAME} printable characters, found {show_json(name)}"
            self.refuse(self.at(key), text)
            return ""
        return name

    def number(self, key: str, default: int) -> int:
        return self._get(key, default, _number)

    def flag(self, key: str) -> bool:
        return self._get(key, default=False, check=_flag)

    def choice(self, key: str, allowed: tuple[str, ...], default: str) -> str:
        """One of the `allowed` strings; `default` for none and for an empty one."""
        text = self.text(key) or default
        if text not in allowed:
            known = " or ".join(f'"{name}"' for name in allowed)
            self.refuse(self.at(key), f"expected {known}, found {show_json(text)}")
            return default
        return text

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings. Older jobs have one string with ``;`` as separator."""
        value = self.data.get(key, ())
        if isinstance(value, str):
            return tuple(part for part in value.split(";") if part)
        items = enumerate(self._check(value, self.at(key), _NONE, _list))
        return tuple(self._check(item, f"{self.at(key)}[{i}]", "", _text) for i, item in items)

    def table(self, key: str) -> dict[str, str]:
        """An object whose values are strings, such as an environment."""
        table = Fields(self.data.get(key, {}), self.at(key), self.problems)
        return {name: table.text(name) for name in table.data}

    def pattern(self, key: str) -> str:
        """A string that is a regular expression."""
        text = self.text(key)
        try:
            compile_mask(text)
        except (re.error, RecursionError, OverflowError) as error:
            self.refuse(self.at(key), f"not a regular expression: {error}")
            return ""
        return text

    def objects(self, key: str) -> Iterator[Fields]:
        """The objects of a list, one by one."""
        for i, item in enumerate(self._check(self.data.get(key, []), self.at(key), _NONE, _list)):
            fields = Fields(item, f"{self.at(key)}[{i}]", self.problems)
            if isinstance(item, dict):  # of anything else, the missing keys are no further problems
                yield fields

    def meaningful(self, keys: tuple[str, ...]) -> Iterator[str]:
        """Those of `keys` with an effect: not empty, zero, false, null or Afanasy's -1."""
        values = ((key, self.data.get(key)) for key in keys)
        return (key for key, value in values if value and value != -1)


def _text(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise JobError(path, f"expected a text, found {show_json(value)}")
    if "\0" in value:
        raise JobError(path, "contains a NUL character, which no command or path can contain")
    return value


def _number(value: object, path: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise JobError(path, f"expected an integer, found {show_json(value)}")
    if abs(value) > INT_LIMIT:
        raise JobError(path, f"{show_json(value)} is too large a number")
    return value


def _flag(value: object, path: str) -> bool:
    if not isinstance(value, bool):
        raise JobError(path, f"expected true or false, found {show_json(value)}")
    return value


def _list(value: object, path: str) -> Sequence[object]:
    if not isinstance(value, list | tuple):
        raise JobError(path, f"expected a list, found {show_json(value)}")
    return value
