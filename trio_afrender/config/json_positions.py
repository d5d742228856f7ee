"""Finds the places of keys in a JSON text, for messages about a file. No I/O."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator

__all__ = ("find_keys", "make_locator")

_TOKEN = re.compile(r'("(?:[^"\\]|\\.)*")|([{}\[\],:])|[^\s{}\[\],:"]+', re.DOTALL)


def find_keys(text: str) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yield the path of keys and the offset of each key of a valid JSON text, in its order.

    A list counts as an object with the key ``[]``.
    """
    path: list[str] = []
    objects: list[bool] = []
    key_follows = False
    for token in _TOKEN.finditer(text):
        string, mark = token[1], token[2]
        if mark == "{" or mark == "[":
            path.append("[]")
            objects.append(mark == "{")
            key_follows = mark == "{"
        elif mark == "}" or mark == "]":
            path.pop()
            objects.pop()
            key_follows = False
        elif mark == ",":
            key_follows = objects[-1]
        elif string and key_follows:
            path[-1] = json.loads(string, strict=False)
            yield tuple(path), token.start()
            key_follows = False


def make_locator(text: str) -> Callable[[int], str]:
    """Return a function that returns ``LINE:COLUMN`` of an offset in `text`, both from 1."""
    starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def locate(offset: int) -> str:
        line = bisect_right(starts, offset)
        return f"{line}:{offset - starts[line - 1] + 1}"

    return locate
