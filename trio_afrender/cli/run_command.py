"""``-cmd``: runs a command in the same way as a task, without a server, to test a host."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import NoReturn

from trio_afrender.errors import SpawnError
from trio_afrender.process.environment import find_inheritable

__all__ = ("run_by_shell",)


def run_by_shell(shell: Sequence[str], command: str) -> NoReturn:
    """Replace this process by `command`, run by `shell` with the environment of tasks.

    So the command has the terminal, gets the signals and sets the exit code. Raises `SpawnError`.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if not hasattr(os, "fork"):  # Windows, where exec ends this process and does not wait
        from trio_afrender.process.windows.command_line import make_command_line

        try:
            line = make_command_line((*shell, command))
            code = subprocess.call(line, env=find_inheritable(os.environ))
        except OSError as error:
            raise SpawnError(f'cmd_shell: cannot start "{shell[0]}": {error.strerror}') from error
        sys.exit(code)
    try:
        os.execvpe(shell[0], [*shell, command], find_inheritable(os.environ))  # noqa: S606 - the configured shell
    except (OSError, ValueError) as error:
        problem = error.strerror if isinstance(error, OSError) else error
        raise SpawnError(f'cmd_shell: cannot start "{shell[0]}": {problem}') from error
