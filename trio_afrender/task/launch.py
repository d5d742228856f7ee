"""What exactly is started for a task: argv, environment, folder. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

import attrs

from trio_afrender.process.interfaces import Launch
from trio_afrender.protocol.messages import TaskExec
from trio_afrender.tasklog.redact import find_secrets

__all__ = ("AgentEnvironment", "make_launch")

WITHHELD_FROM_TASKS = (
    "AFRENDER_TOKEN*",
    "TRIO_AFRENDER_TOKEN*",
    "NOTIFY_SOCKET",
    "WATCHDOG_*",
    "LISTEN_*",
)
"""The agent's own secrets, and what would let a task speak to the service manager in our name."""


@attrs.frozen
class AgentEnvironment:
    """The agent's own variables as tasks inherit them. Looked through once, not for each task."""

    variables: Mapping[str, str]
    secrets: tuple[str, ...]
    """Values to be blotted out of everything that leaves the store."""
    redact: tuple[str, ...] = ()

    @classmethod
    def of(cls, environ: Mapping[str, str], redact: tuple[str, ...]) -> AgentEnvironment:
        """Leave out what no task may have; `redact` are patterns of names with secret values."""
        variables = {
            name: value
            for name, value in environ.items()
            if not any(fnmatchcase(name, pattern) for pattern in WITHHELD_FROM_TASKS)
        }
        return cls(variables, find_secrets(variables, redact), redact)

    def make(
        self, service: Mapping[str, str], task: TaskExec, *, token: str, stop_file: str
    ) -> tuple[dict[str, str], tuple[str, ...]]:
        """Return a task's whole environment and the secrets in it.

        Entries of the service with an empty name or value are left out. `token` marks every
        process of the run, whatever session or parent it ends up under.
        """
        own = {name: value for name, value in service.items() if name and value}
        environment = {**self.variables, **own}
        environment.update(
            AF_JOB_ID=str(task.job),
            AF_BLOCK_ID=str(task.block),
            AF_TASK_ID=str(task.task),
            AF_TASK_TOKEN=token,
            AF_STOP_FILE=stop_file,
        )
        return environment, (*self.secrets, *find_secrets(own, self.redact))


def make_launch(
    command: str,
    *,
    shell: Iterable[str],
    cwd: str,
    environment: Mapping[str, str],
    nice: int,
    console: bool = False,
) -> Launch:
    """Return how the configured shell runs `command` in the existing folder `cwd`."""
    argv = (*shell, command)
    return Launch(argv=argv, cwd=cwd, environment=environment, nice=nice, console=console)
