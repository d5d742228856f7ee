r"""The command line of a task on Windows, where a program gets one text and divides it by itself.

A command of a task is the text behind ``cmd.exe /c``, as with Afanasy. `cmd` removes the first and the last
quote of a text that begins with one, which breaks ``"C:\Program Files\x.exe" "a b"``; with ``/s`` and quotes
around all of it, it removes those and nothing else.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from trio_afrender.errors import SpawnError

__all__ = ("MAX_LINE", "MAX_SHELL_LINE", "make_command_line")

MAX_LINE = 32767
"""Characters of a command line."""
MAX_SHELL_LINE = 8191
"""Characters that `cmd.exe` reads; it drops the rest."""
SHELLS = ("cmd", "cmd.exe")
BATCH = (".bat", ".cmd")
UNSAFE_IN_BATCH = '%"\r\n'
"""Characters that cannot be quoted for a batch file: `cmd` reads its arguments once more."""


def make_command_line(argv: Sequence[str]) -> str:
    """Return the command line of a shell with a command, or of a program with arguments.

    Raises `SpawnError` for what Windows would cut, or would read as something else.
    """
    base = argv[0].replace("\\", "/").rpartition("/")[2].lower()
    if base in SHELLS and len(argv) > 2 and argv[-2].lower() in ("/c", "/k"):
        line, limit = _join_shell(argv), MAX_SHELL_LINE
    elif base.endswith(BATCH):
        line, limit = _join_batch(argv), MAX_SHELL_LINE
    else:
        line, limit = subprocess.list2cmdline(argv), MAX_LINE
    if len(line) > limit:
        raise SpawnError(
            f'cannot start "{argv[0]}": the command has {len(line)} characters, Windows takes {limit}'
        )
    return line


def _join_shell(argv: Sequence[str]) -> str:
    *options, switch, command = argv
    if "\n" in command.strip("\r\n"):
        raise SpawnError(
            "the command has several lines, of which cmd.exe would run the first one only"
        )
    command = command.strip("\r\n")
    start = subprocess.list2cmdline(options)
    # Two quotes at the start: written for the removal of the outer ones.
    if command.startswith('"') and not command.startswith('""'):
        return f'{start} /s {switch} "{command}"'
    return f"{start} {switch} {command}"


def _join_batch(argv: Sequence[str]) -> str:
    """Return the line for a batch file, which only `cmd.exe` can run."""
    for word in argv:
        if unsafe := [c for c in UNSAFE_IN_BATCH if c in word]:
            text = f"an argument of the batch file {argv[0]} contains {unsafe[0]!r}"
            raise SpawnError(f"{text}, which cannot be passed safely")
    words = " ".join(f'"{word}"' for word in argv)
    # /d: no commands of the registry (AutoRun) before it; /v:off: "!" has no meaning.
    return f'{os.environ.get("COMSPEC", "cmd.exe")} /d /e:on /v:off /s /c "{words}"'
