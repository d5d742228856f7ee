"""``-cmd``: runs a command in the same way as a task, without a server, to test a host."""

from __future__ import annotations

import os
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
    try:
        os.execvpe(shell[0], [*shell, command], find_inheritable(os.environ))  # noqa: S606 - the configured shell
    except (OSError, ValueError) as error:
        problem = error.strerror if isinstance(error, OSError) else error
        raise SpawnError(f'cmd_shell: cannot start "{shell[0]}": {problem}') from error
