"""Small things about texts that parsers share."""

from __future__ import annotations

import re

__all__ = ("after", "int_of", "last_after", "lines", "text_of")


def text_of(value: object) -> str:
    """Text for what should be one; bytes are UTF-8, None is empty."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "replace")
    return str(value)


def int_of(value: object, otherwise: int) -> int:
    """A whole number for what should be one."""
    try:
        return int(value)  # type: ignore[call-overload,no-any-return] # that is what is tried here
    except (TypeError, ValueError, OverflowError):
        return otherwise


def lines(text: str) -> list[str]:
    r"""The lines without their ends, which are ``\n``, ``\r`` and ``\r\n``, nothing else.

    An end at the very end begins no further line.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    found = text.split("\n")
    if not found[-1]:
        found.pop()
    return found


def after(line: str, marker: str) -> str | None:
    """What follows a marker in a line, stripped; None without the marker or with nothing behind."""
    _, found, rest = line.partition(marker)
    rest = rest.strip()
    return rest if found and rest else None


def last_after(text: str, marker: str) -> str:
    """What follows the last marker that anything follows, up to its line's end, stripped.

    Markers with nothing behind them do not count, else the answer would depend on how the
    output was cut into portions.
    """
    if marker not in text:
        return ""
    found = ""
    for match in re.finditer(re.escape(marker) + r"([^\r\n]*)", text):
        for part in match.group(1).split(marker):
            found = part.strip() or found
    return found
