"""``-cmd``: a command as tasks are run, without a server: does this host find its renderer?"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from trio_afrender.errors import SpawnError
from trio_afrender.task.launch import AgentEnvironment

__all__ = ("run_by_shell",)


def run_by_shell(shell: Sequence[str], command: str) -> NoReturn:
    """Become `command`, by the shell of tasks (``cmd_shell``) and with the variables that they get.

    Its terminal, its signals and its exit code are then the command's. Raises `SpawnError`.
    """
    variables = AgentEnvironment.of(os.environ, ()).variables
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execvpe(shell[0], [*shell, command], dict(variables))  # noqa: S606 - no shell but the configured one
    except (OSError, ValueError) as error:
        problem = error.strerror if isinstance(error, OSError) else error
        raise SpawnError(f'cmd_shell: cannot start "{shell[0]}": {problem}') from error
