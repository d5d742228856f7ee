"""Parse JSON of an afserver, which copies some texts into it without escaping them. No I/O.

A quote in the name of a task, a block, a service or a ticket ends the string too early, and the
parser stops at what follows. While a wake-on-lan task runs that happens in every list of renders:
the name of the task is the beginning of a JSON text. So the quote before the place where the parser
stops is escaped, and the parser tries again. What results can differ from the server's values only
within the object that has the bad text.
"""

from __future__ import annotations

import json

__all__ = ("load_repaired",)

_MAX_REPAIRS = 1000
"""Characters that are escaped; each costs a whole parse."""
_MAX_WORK = 512 * 1024 * 1024
"""Characters that are parsed in all, so that a large answer does not take minutes."""
_TOO_SHORT = ("Unterminated string", "Extra data")
"""Errors that no further quote in a string can explain."""


def load_repaired(text: str) -> object:
    """Parse JSON, with quotes and backslashes in strings escaped where they have to be.

    Raises `ValueError` for what cannot be parsed even so, `RecursionError` for deep nesting.
    """
    for _ in range(min(_MAX_REPAIRS, 1 + _MAX_WORK // (len(text) + 1))):
        try:
            # strict=False: strings may contain control characters.
            return json.loads(text, strict=False)
        except json.JSONDecodeError as error:
            at = _find_culprit(text, error)
            if at < 0:
                raise
            text = f"{text[:at]}\\{text[at:]}"
    raise ValueError("too many quotes in its strings are not escaped")


def _find_culprit(text: str, error: json.JSONDecodeError) -> int:
    """The place of the character that lacks a backslash; -1 if none explains the error."""
    if error.msg.startswith("Invalid \\"):
        return text.rfind("\\", 0, error.pos + 1)
    if error.msg.startswith(_TOO_SHORT):
        return -1
    at = text.rfind('"', 0, error.pos)
    while at > 0:
        slashes = at
        while slashes and text[slashes - 1] == "\\":
            slashes -= 1
        if (at - slashes) % 2 == 0:
            break
        at = text.rfind('"', 0, at)  # this one is escaped
    return at
