"""Functions on text that parsers share."""

from __future__ import annotations

import re

__all__ = ("after", "int_of", "last_after", "lines", "text_of")


def text_of(value: object) -> str:
    """Convert any value to text; bytes are UTF-8, None is empty."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "replace")
    return str(value)


def int_of(value: object, default: int) -> int:
    """Convert a value to an int; `default` if that is impossible."""
    try:
        return int(value)  # type: ignore[call-overload,no-any-return] # its errors are caught
    except (TypeError, ValueError, OverflowError):
        return default


def lines(text: str) -> list[str]:
    r"""Split a text into lines without their ends: ``\n``, ``\r``, ``\r\n``, and no others.

    An end at the very end of the text begins no further line.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    found = text.split("\n")
    if not found[-1]:
        found.pop()
    return found


def after(line: str, marker: str) -> str | None:
    """Return the stripped text after a marker; None without the marker or without text after it."""
    _, found, rest = line.partition(marker)
    rest = rest.strip()
    return rest if found and rest else None


def last_after(text: str, marker: str) -> str:
    """Return the stripped rest of the line after the last marker that has one; else an empty text.

    Markers with nothing after them are skipped: otherwise the result would depend on how the output
    was cut into batches.
    """
    if marker not in text:
        return ""
    found = ""
    for match in re.finditer(re.escape(marker) + r"([^\r\n]*)", text):
        for part in match.group(1).split(marker):
            found = part.strip() or found
    return found
