"""Commands and paths as this host writes them: tests state what they expect as on Unix."""

from __future__ import annotations

import os
import shlex

from trio_afrender.cmd_words import split_for_cmd

__all__ = ("WINDOWS", "as_here", "split_command")

WINDOWS = os.sep == "\\"


def split_command(command: str) -> list[str]:
    """Return the words of a command for this host's shell."""
    if not WINDOWS:
        return shlex.split(command)
    words = split_for_cmd(command)
    assert words is not None, command
    return words


def as_here(path: str) -> str:
    """Return a path of Unix with this host's separators."""
    return path.replace("/", os.sep)
