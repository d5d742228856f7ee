"""The built-in thumbnailer as a shell command, and the function that recognizes this command.

Services return shell commands for thumbnails, also for the built-in thumbnailer, so that a service
can add to them. The agent sends an unchanged command to its image worker instead of starting a
shell and a new interpreter.
"""

from __future__ import annotations

import os
import shlex
import sys

import attrs

from trio_afrender.cmd_words import split_for_cmd
from trio_afrender.thumbnail.common import DEFAULT_HEIGHT, MAX_HEIGHT

__all__ = ("Wanted", "make_words", "read_command")

# -E and -P: the interpreter ignores the task's PYTHON... variables and modules in its folder.
_MODULE = "trio_afrender.thumbnail"
_PROGRAM = (sys.executable, "-E", "-P", "-m", _MODULE)
MAX_COMMAND = 32 * 1024
"""Characters: two paths of the greatest length, and their quotes."""


@attrs.frozen
class Wanted:
    """A request for one thumbnail; paths, and the height in pixels."""

    image: str
    thumb: str
    height: int = DEFAULT_HEIGHT


def make_words(wanted: Wanted) -> list[str]:
    """Return the words of the command."""
    size = [] if wanted.height == DEFAULT_HEIGHT else ["--height", str(wanted.height)]
    return [*_PROGRAM, *size, "--", wanted.image, wanted.thumb]


def read_command(command: str) -> Wanted | None:
    """Return the thumbnail that a command for this host's shell makes.

    None if it is another command, or if a shell would do more than run it.
    """
    # Only a short one that may be such a command is split: that takes time in proportion to the square of
    # its length, and a service may return commands with thousands of files.
    if len(command) > MAX_COMMAND or _MODULE not in command:
        return None
    words = split_for_cmd(command) if os.sep == "\\" else _split_for_sh(command)
    if words is None or tuple(words[: len(_PROGRAM)]) != _PROGRAM:
        return None
    height = DEFAULT_HEIGHT
    rest = words[len(_PROGRAM) :]
    if rest[:1] == ["--height"] and len(rest) > 1 and rest[1].isdecimal() and len(rest[1]) < 10:
        height = min(max(int(rest[1]), 1), MAX_HEIGHT)
        rest = rest[2:]
    if rest[:1] == ["--"]:
        rest = rest[1:]
    return Wanted(rest[0], rest[1], height) if len(rest) == 2 else None


def _split_for_sh(command: str) -> list[str] | None:
    """Return the words of a command; None if a shell would find others: operators, expansion."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        words = shlex.split(command)
        if list(lexer) != words:
            return None
    except ValueError:
        return None
    quote = ""
    for char in command:
        if quote:
            if char == quote:
                quote = ""
            elif quote == '"' and char in "$`\\":  # these expand within double quotes, too
                return None
        elif char in "\"'":
            quote = char
        elif char in "$`*?[]{}~#\n\\":
            return None
    return words
