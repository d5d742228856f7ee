"""The user of each run, by the settings `config.TaskProcesses`.

All names are looked up at the agent's start, so that a directory service that is down later costs no
task. From then on each is looked up again once in a while: members of groups change.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial

import trio

from trio_afrender.config.settings import TaskProcesses
from trio_afrender.errors import AfRenderError, ConfigError
from trio_afrender.process.task_user import TaskUser, find_user
from trio_afrender.tasklog.io_threads import call_in_thread

__all__ = ("TaskUserError", "TaskUsers", "list_names", "load_task_users", "refuse_user")

BY_JOB = "job"
OTHERS = "*"
REFRESH_INTERVAL = 60.0
"""Seconds after which a user is looked up again."""
LOOKUP_TIMEOUT = 2.0
"""Seconds that a task waits for that; then its user is as it was."""

FindUser = Callable[[str], TaskUser | None]


class TaskUserError(AfRenderError):
    """The settings give a job no user on this host."""


def list_names(settings: TaskProcesses) -> tuple[str, ...]:
    """Return the names of this host's users as which tasks may run; () if they run as the agent's.

    Raises `ConfigError` for settings that name none.
    """
    if settings.user != BY_JOB:
        if settings.users:
            text = f'tasks.users counts only with "{BY_JOB}" as tasks.user'
            raise ConfigError(f"{text}, which is {settings.user or 'empty'!r}")
        return (settings.user,) if settings.user else ()
    if not settings.users:
        raise ConfigError('tasks.user is "job", but tasks.users has no row: add {"*": "USER"}')
    return tuple(dict.fromkeys(settings.users.values()))


def refuse_user(user: TaskUser, *, privileged: bool, agent: int) -> str:
    """Return why no task may run as `user`, empty if it may; `agent` is the uid of the agent."""
    if privileged:
        return ""
    if user.ids.uid == 0:
        return f'the user "{user.name}" is root, which may do everything on this host'
    if user.ids.uid == agent:
        return f'the user "{user.name}" is the agent\'s own, which may read its store and token'
    return ""


def load_task_users(settings: TaskProcesses, find: FindUser = find_user) -> TaskUsers:
    """Look up all users of the settings; blocking. Raises `ConfigError` for one that cannot be used."""
    names = list_names(settings)
    if not hasattr(os, "geteuid"):
        if names:
            raise ConfigError("tasks.user: this system cannot run tasks as other users")
        return TaskUsers(settings, {}, -1, find)
    agent, known = os.geteuid(), {}
    for name in names:
        # Problems name the row: a user who reads them looks for it in the settings.
        row = next((f'["{job}"]' for job, user in settings.users.items() if user == name), "")
        place = f"tasks.users{row}" if row else "tasks.user"
        user = find(name)
        if user is None:
            raise ConfigError(f'{place}: this host has no user "{name}"')
        if problem := refuse_user(user, privileged=settings.privileged, agent=agent):
            raise ConfigError(f"{place}: {problem}; name another one, or set tasks.privileged")
        known[name] = user
    return TaskUsers(settings, known, agent, find)


class TaskUsers:
    """Finds the user of a run. Made by `load_task_users`."""

    def __init__(
        self,
        settings: TaskProcesses,
        known: Mapping[str, TaskUser],
        agent: int,
        find: FindUser = find_user,
    ) -> None:
        self._settings = settings
        self._known = dict(known)
        self._agent = agent
        self._find = find
        self._looked_up: dict[str, float] = {}
        self._look_ups = trio.CapacityLimiter(1)

    @property
    def others(self) -> tuple[TaskUser, ...]:
        """All users but the agent's own, one for each uid."""
        # Two names can have one uid, and what is done for a user counts for the uid.
        by_uid = {user.ids.uid: user for user in self._known.values()}
        by_uid.pop(self._agent, None)
        return tuple(by_uid.values())

    async def of_job(self, job_user: str) -> TaskUser | None:
        """Return the user of a job's tasks; None: the agent's own. Raises `TaskUserError`."""
        name, rows = self._settings.user, self._settings.users
        if name == BY_JOB:
            row = rows.get(job_user) or rows.get(OTHERS)
            if row is None:
                text = f'the job\'s user "{job_user}" has no row in tasks.users of this host'
                raise TaskUserError(f'{text}, which has no row "{OTHERS}" either')
            name = row
        if not name:
            return None
        now = trio.current_time()
        # The first task of a user begins the interval: the names were looked up at the start.
        if now >= self._looked_up.setdefault(name, now) + REFRESH_INTERVAL:
            self._looked_up[name] = now
            with trio.move_on_after(LOOKUP_TIMEOUT):
                # A limiter of its own: a directory service that hangs must not keep threads that
                # others need, nor get one more each minute.
                found = await call_in_thread(
                    partial(self._find, name), abandon=True, limiter=self._look_ups
                )
                # Its groups may be others now. A uid that changes would not be the one that the
                # folders have, and that was checked.
                if found is not None and found.ids.uid == self._known[name].ids.uid:
                    self._known[name] = found
        user = self._known[name]
        return user if user.ids.uid != self._agent else None
