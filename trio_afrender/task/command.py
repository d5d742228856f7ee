"""What exactly is started for a task: argv, environment, folder. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from trio_afrender.child.base import Launch
from trio_afrender.messages import TaskExec

__all__ = ("make_environment", "make_launch")

WITHHELD = ("AFRENDER_TOKEN*", "TRIO_AFRENDER_TOKEN*", "NOTIFY_SOCKET", "WATCHDOG_*", "LISTEN_*")
"""The agent's own secrets, and what would let a task speak to the service manager in our name."""


def make_environment(
    agent: Mapping[str, str],
    service: Mapping[str, str],
    task: TaskExec,
    *,
    token: str,
    stop_file: str,
) -> dict[str, str]:
    """Return a task's whole environment; entries with an empty name or value are left out.

    `token` marks every process of the run, whatever session or parent it ends up under.
    """
    environment = {
        name: value
        for name, value in agent.items()
        if not any(fnmatchcase(name, pattern) for pattern in WITHHELD)
    }
    environment.update((name, value) for name, value in service.items() if name and value)
    environment.update(
        AF_JOB_ID=str(task.job),
        AF_BLOCK_ID=str(task.block),
        AF_TASK_ID=str(task.task),
        AF_TASK_TOKEN=token,
        AF_STOP_FILE=stop_file,
    )
    return environment


def make_launch(
    command: str, *, shell: Iterable[str], cwd: str, environment: Mapping[str, str], nice: int
) -> Launch:
    """Return how the configured shell runs `command` in the existing folder `cwd`."""
    return Launch(argv=(*shell, command), cwd=cwd, environment=environment, nice=nice)
