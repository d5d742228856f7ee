"""Words of a command for `cmd.exe`, the shell of Windows: joined so that it runs them and nothing else.

Two programs read a command. `cmd` replaces ``%NAME%``, whatever quotes are around it, and gives ``& | < > ^ ( )``
a meaning outside of double quotes. Then the program itself divides its command line, by the rules of the C
library: double quotes hold a word together, and backslashes matter before a quote only.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence

__all__ = ("join_for_cmd", "split_for_cmd")

_NEEDS_QUOTES = re.compile(r"[\s&|<>^()@,;=!'`]")
_AFTER_PERCENT = re.compile(r"%(\w)")
_OPERATORS = frozenset("&|<>^()\r\n")
_VARIABLE = re.compile(r"%[^%\"]+%")


def join_for_cmd(words: Sequence[str]) -> str:
    """Return the command of these words."""
    texts = []
    for word in words:
        text = subprocess.list2cmdline([word])
        if _NEEDS_QUOTES.search(word) and not text.startswith('"'):
            # Backslashes before the closing quote are doubled.
            doubled = word[len(word.rstrip("\\")) :]
            text = f'"{text}{doubled}"'
        # A percent sign is followed by a quote, which is in the name of no variable: so `cmd` finds none.
        texts.append(_AFTER_PERCENT.sub(r'%"\1"', text))
    return " ".join(texts)


def split_for_cmd(command: str) -> list[str] | None:
    """Return the words of a command; None if `cmd` would do more than run one program with them."""
    words, word, quoted, inside = [], "", False, False
    for char in command:
        backslashes = len(word) - len(word.rstrip("\\"))
        if char == '"' and backslashes % 2 == 0:
            quoted = not quoted
        elif char in _OPERATORS and not quoted:
            return None
        if char in " \t" and not quoted:
            if inside:
                words.append(word)
            word, inside = "", False
        else:
            word, inside = word + char, True
    if quoted or _VARIABLE.search(command):
        return None
    if inside:
        words.append(word)
    # Of the backslashes before a quote each second one stands for one; an odd one quotes the quote.
    return [re.sub(r'(\\*)"', _read_quote, each) for each in words]


def _read_quote(found: re.Match[str]) -> str:
    count = len(found[1])
    return "\\" * (count // 2) + ('"' if count % 2 else "")
