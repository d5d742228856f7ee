"""Our thumbnailer as a command of a task, and how an agent knows it again.

Services answer with commands for the shell, and so does the built-in thumbnailer: a service may put
what it likes around them. One that is left as it was need not be run by a shell and a new
interpreter: the agent's worker does it.
"""

from __future__ import annotations

import shlex
import sys

import attrs

from trio_afrender.thumbnail.common import DEFAULT_HEIGHT, MAX_HEIGHT

__all__ = ("Wanted", "make_words", "read_command")

# -E and -P: neither the task's PYTHON... variables nor its folder lead the interpreter astray.
_PROGRAM = (sys.executable, "-E", "-P", "-m", "trio_afrender.thumbnail")


@attrs.frozen
class Wanted:
    """A thumbnail to be made."""

    image: str
    thumb: str
    height: int = DEFAULT_HEIGHT


def make_words(wanted: Wanted) -> list[str]:
    """The words of the command."""
    size = [] if wanted.height == DEFAULT_HEIGHT else ["--height", str(wanted.height)]
    return [*_PROGRAM, *size, "--", wanted.image, wanted.thumb]


def read_command(command: str) -> Wanted | None:
    """What a command for a POSIX shell would make; None when it is not ours alone."""
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    if tuple(words[: len(_PROGRAM)]) != _PROGRAM or not _is_plain(command, words):
        return None
    height = DEFAULT_HEIGHT
    rest = words[len(_PROGRAM) :]
    if rest[:1] == ["--height"] and len(rest) > 1 and rest[1].isdecimal():
        height = min(max(int(rest[1]), 1), MAX_HEIGHT)
        rest = rest[2:]
    if rest[:1] == ["--"]:
        rest = rest[1:]
    return Wanted(rest[0], rest[1], height) if len(rest) == 2 else None


def _is_plain(command: str, words: list[str]) -> bool:
    """Whether a shell makes these words of it, too: nothing in it is an operator or a pattern."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        if list(lexer) != words:
            return False
    except ValueError:
        return False
    bare = _unquoted(command)
    return not any(char in bare for char in "$`*?[]{}~#\n\\")


def _unquoted(command: str) -> str:
    """The characters that stand outside of quotes, and what is special within double ones."""
    kept, quote = [], ""
    for char in command:
        if quote:
            if char == quote:
                quote = ""
            elif quote == '"' and char in "$`\\":
                kept.append(char)
        elif char in "\"'":
            quote = char
        else:
            kept.append(char)
    return "".join(kept)
