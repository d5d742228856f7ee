"""Text for a terminal: control characters are made visible, long lines shortened; stderr output."""

from __future__ import annotations

import os
import re
import sys
import unicodedata

__all__ = ("clean", "print_line", "shorten_line", "tail")

# Control characters, line ends of all kinds, marks that change the direction of text, surrogates.
_CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_NAMES = {"\n": "\\n", "\r": "\\r", "\t": "    "}


def clean(text: str) -> str:
    """Return `text` as one line in which control characters are shown as ``\\x1b`` and the like."""
    return _CONTROLS.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    if character in _NAMES:
        return _NAMES[character]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def shorten_line(text: str, width: int) -> str:
    """Return cleaned text of at most `width` columns, with an ellipsis if it was longer."""
    text = clean(text)
    if sum(_columns(c) for c in text) <= width:
        return text
    short, left = [], width - 1
    for character in text:
        left -= _columns(character)
        if left < 0:
            break
        short.append(character)
    return "".join(short) + "…"


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def tail(text: str, lines: int, width: int = 200) -> list[str]:
    """Return the last lines that are not empty; of a line overwritten with ``\\r`` the last state."""
    found: list[str] = []
    # Only the end is split: an output can have megabytes.
    for line in reversed(text[-64 * 1024 :].split("\n")):
        last = next((part for part in reversed(line.split("\r")) if part.strip()), "")
        if last:
            found.append(shorten_line(last.rstrip(), width))
        if len(found) == lines:
            break
    return found[::-1]


def print_line(*lines: str) -> None:
    """Write lines to stderr; a closed pipe is not an error."""
    try:
        sys.stderr.write("".join(f"{line}\n" for line in lines))
        sys.stderr.flush()
    except (BrokenPipeError, UnicodeEncodeError) as error:
        if isinstance(error, BrokenPipeError):
            # Otherwise the interpreter reports the error again when it closes the stream.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
