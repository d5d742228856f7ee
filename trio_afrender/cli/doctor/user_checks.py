"""Check the users as which tasks run: whether the settings use some, and what these lack."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path
from shlex import quote

from trio_afrender.cli.doctor.finding import ERROR, HAND, OK, ROOT, WARNING, Finding, drop_in
from trio_afrender.cli.doctor.network import UNIT, show_unit
from trio_afrender.config import Config
from trio_afrender.errors import ConfigError
from trio_afrender.process.task_user import TaskUser, find_barrier, find_user
from trio_afrender.task.task_users import list_names, refuse_user
from trio_afrender.user_switch import CAPABILITIES, find_missing_capabilities

__all__ = ("check_task_users",)


def check_task_users(
    config: Config,
    unit: str = "",
    *,
    find: Callable[[str], TaskUser | None] = find_user,
    missing: Callable[[], Collection[str]] = find_missing_capabilities,
    granted: Callable[[str], Collection[str]] | None = None,
    python: Path = Path(sys.executable),
) -> Iterator[Finding]:
    """`granted` returns the capabilities that a unit gives to an agent."""
    try:
        names = list_names(config.tasks)
    except ConfigError as error:
        yield Finding("tasks-user", ERROR, str(error), "trio_afrender config 'tasks.*'")
        return
    if not hasattr(os, "geteuid"):
        if names:
            text = "this system cannot run tasks as other users: the agent ends at its start"
            yield Finding("tasks-user", ERROR, text, "trio_afrender config 'tasks.*'")
        return
    if not names:
        user = str(os.geteuid())
        with suppress(OSError, KeyError):  # not in the database of users, as in bare containers
            user = getpass.getuser()
        text = (
            f"tasks run as {user}, the agent's own user (tasks.user is not set): they can read its"
            " token file, its store, and the files of other tasks"
        )
        root = os.geteuid() == 0
        fix = "trio_afrender agent --trio_afrender.tasks.user render" if root else ""
        yield Finding("tasks-user", WARNING if root else OK, text, fix, HAND)
        return
    findings = [*_check_capabilities(unit or UNIT, missing, granted or _read_granted)]
    for name in names:
        findings += _check_user(config, name, find(name), python)
    yield from findings
    if all(each.level != ERROR for each in findings):
        how = "by the table tasks.users: " if config.tasks.users else ""
        text = f"tasks run as other users of this host, {how}{', '.join(names)}"
        yield Finding("tasks-user", OK, text)


def _check_capabilities(
    unit: str, missing: Callable[[], Collection[str]], granted: Callable[[str], Collection[str]]
) -> Iterator[Finding]:
    lacking = list(missing())
    if not lacking:
        return
    if os.geteuid() == 0:
        flags = " ".join(f"--cap-add={name.removeprefix('CAP_')}" for name in lacking)
        text = (
            f"root lacks {', '.join(lacking)} here, as in a container: the agent ends at its start"
        )
        yield Finding("tasks-user", ERROR, text, f"docker run {flags} ...", HAND)
        return
    # A shell does not have what the unit of the agent may have.
    if lacking := [name for name in lacking if name not in granted(unit)]:
        text = (
            f"the agent's user is not root, and lacks {', '.join(lacking)}: the agent ends at its"
            " start, because it cannot start tasks as other users"
        )
        fix = drop_in(unit, "AmbientCapabilities", " ".join(CAPABILITIES), user=False)
        yield Finding("tasks-user", ERROR, text, fix, ROOT)


def _read_granted(unit: str) -> Collection[str]:
    shown, _ = show_unit(unit, ["AmbientCapabilities"], user=False)
    return shown.get("AmbientCapabilities", "").upper().split()


def _check_user(
    config: Config, name: str, user: TaskUser | None, python: Path
) -> Iterator[Finding]:
    if user is None:
        text = f'tasks are to run as user "{name}", which this host does not have'
        yield Finding(
            "tasks-user", ERROR, text, f"useradd --system --create-home {quote(name)}", ROOT
        )
        return
    problem = refuse_user(user, privileged=config.tasks.privileged, agent=os.geteuid())
    if problem:
        fix = "trio_afrender agent --trio_afrender.tasks.user render"
        yield Finding("tasks-user", ERROR, f"{problem}: no task runs as it", fix, HAND)
        return
    barrier = find_barrier(config.store, user.ids)
    if barrier is not None:
        text = f'user "{name}" cannot enter {barrier}, below which the folders of its tasks lie'
        fix = f"trio_afrender agent --store DIR  # or chmod o+x {quote(str(barrier))}"
        yield Finding("tasks-user", ERROR, text, fix, HAND)
    for path in (python.parent, Path(os.path.realpath(python)).parent, Path(__file__).parent):
        barrier = find_barrier(path, user.ids)
        if barrier is not None:
            text = (
                f'user "{name}" cannot enter {barrier}, where this program or its Python is'
                " installed: services and parsers that import more than the usual modules fail"
            )
            fix = f"chmod o+x {quote(str(barrier))}  # or install it in /opt"
            yield Finding("tasks-user", WARNING, text, fix, ROOT)
            return
