"""The environment variables of a task's processes. Pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping

import attrs

from trio_afrender.process.environment import find_inheritable
from trio_afrender.process.task_user import TaskUser
from trio_afrender.protocol.messages import TaskExec
from trio_afrender.tasklog.redact import find_secrets

__all__ = ("AgentEnvironment",)

# They name files and sockets of the agent's user, or of its session.
_OF_SESSION = (
    "DBUS_SESSION_BUS_ADDRESS",
    "ICEAUTHORITY",
    "MAIL",
    "OLDPWD",
    "PWD",
    "SSH_AUTH_SOCK",
    "SUDO_*",
    "XAUTHORITY",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "XDG_SESSION_*",
    "XDG_STATE_HOME",
)


@attrs.frozen
class AgentEnvironment:
    """The agent's own variables as tasks inherit them. Filtered once, not for each task."""

    variables: Mapping[str, str]
    secrets: tuple[str, ...]
    """Values to be redacted in everything that leaves the store."""
    redact: tuple[str, ...] = ()
    """Patterns of the names of variables with secret values."""

    @classmethod
    def of(cls, environ: Mapping[str, str], redact: tuple[str, ...]) -> AgentEnvironment:
        """Filter `environ`: leave out what no task may have, collect the secrets."""
        variables = find_inheritable(environ)
        return cls(variables, find_secrets(variables, redact), redact)

    def make(
        self,
        service: Mapping[str, str],
        task: TaskExec,
        *,
        token: str,
        stop_file: str,
        user: TaskUser | None = None,
    ) -> tuple[dict[str, str], tuple[str, ...]]:
        """Return a task's whole environment and the secrets in it.

        Entries of `service` with an empty name or value are left out. `token` marks every process of
        the run, whatever session or parent process it ends up in. `user` is the one as which they run,
        if it is not the agent's.
        """
        # The service's variables replace the agent's, those of the run replace both.
        own = {name: value for name, value in service.items() if name and value}
        environment = {**self.variables, **own}
        if user is not None:
            environment = {**describe_user(user, self.variables), **own}
        environment.update(
            AF_JOB_ID=str(task.job),
            AF_BLOCK_ID=str(task.block),
            AF_TASK_ID=str(task.task),
            # Not Afanasy's AF_TASK_ID: an afrender on the same host sets that one too.
            AF_TASK_TOKEN=token,
            AF_STOP_FILE=stop_file,
        )
        return environment, (*self.secrets, *find_secrets(own, self.redact))


def describe_user(user: TaskUser, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the agent's variables for processes of another user."""
    kept = {
        name: value
        for name, value in variables.items()
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in _OF_SESSION)
    }
    return {**kept, "HOME": user.home, "USER": user.name, "LOGNAME": user.name}
