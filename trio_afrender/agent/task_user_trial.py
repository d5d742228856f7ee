"""Try at the agent's start to run something as each user of the settings.

A fault of the host's settings (a store that the user cannot reach, a capability that is missing) then
ends the agent with its reason, and does not fail each task.
"""

from __future__ import annotations

import logging
import os
import secrets
from functools import partial
from pathlib import Path

import trio

from trio_afrender.agent.state_dir import StateDir
from trio_afrender.config.settings import TaskProcesses
from trio_afrender.errors import ConfigError, SpawnError
from trio_afrender.process.interfaces import Launch, TreeHolder
from trio_afrender.process.task_user import TaskUser, find_barrier
from trio_afrender.protocol.messages import TaskExec
from trio_afrender.supervisor.run_folders import remove_folders
from trio_afrender.task.run_folder import OWN_SLOT, DiskRunFolder, open_run_folder
from trio_afrender.task.task_users import TaskUsers, load_task_users
from trio_afrender.tasklog.io_threads import call_in_thread, work_in_thread
from trio_afrender.user_switch import find_missing_capabilities

__all__ = ("open_task_users",)

logger: logging.Logger = logging.getLogger(__name__)

MAX_TRIALS = 16
"""Users that are tried; a fault of the others is found by their tasks."""
TRIAL_TIMEOUT = 20.0
"""Seconds for one trial."""
SCRIPT = ": > tried && : > ../files/tried"


async def open_task_users(settings: TaskProcesses, store: StateDir, trees: TreeHolder) -> TaskUsers:
    """Look up the users of tasks, and try some of them. Raises `ConfigError`, `StoreError`."""
    users = await call_in_thread(partial(load_task_users, settings))
    if not users.others:
        return users
    missing = dict.fromkeys((*await work_in_thread(find_missing_capabilities), *trees.lacking))
    if missing:
        raise ConfigError(
            f"tasks.user: the agent cannot start tasks as other users without {', '.join(missing)};"
            " trio_afrender doctor shows how it gets them"
        )
    await work_in_thread(store.make_task_folders)
    for user in users.others[:MAX_TRIALS]:
        await _try_user(user, store, trees)
    names = ", ".join(user.name for user in users.others[:MAX_TRIALS])
    logger.info("tasks run as other users of this host: %s", names)
    return users


async def _try_user(user: TaskUser, store: StateDir, trees: TreeHolder) -> None:
    """Run a shell as `user` that writes where a task may. Raises `ConfigError`, `StoreError`."""
    task = TaskExec(run=f"trial-{user.ids.uid}", job=0, block=0, task=0)
    opening = open_run_folder(
        store.runs, task, quota=65536, user=user, task_folders=store.task_folders
    )
    async with opening as run_folder:
        try:
            with trio.fail_after(TRIAL_TIMEOUT):
                problem = await _run_trial(user, run_folder, trees)
        except (SpawnError, trio.TooSlowError) as error:
            problem = str(error) or f"it has not ended within {TRIAL_TIMEOUT:g} s"
        finally:
            with trio.CancelScope(shield=True):
                folders = [str(run_folder.folder), str(run_folder.task_folder)]
                await work_in_thread(partial(remove_folders, folders))
    if not problem:
        return
    barrier = await work_in_thread(partial(find_barrier, store.task_folders, user.ids))
    if barrier is not None:
        problem = f"it cannot enter {barrier}: choose another --store, or chmod o+x {barrier}"
    raise ConfigError(f'no task can run as user "{user.name}": {problem}')


async def _run_trial(user: TaskUser, run_folder: DiskRunFolder, trees: TreeHolder) -> str:
    """Return what went wrong, empty if nothing did. Raises `SpawnError`."""
    launch = Launch(
        argv=("/bin/sh", "-c", SCRIPT),
        cwd=run_folder.work_dir,
        environment={"PATH": os.defpath, "AF_TASK_TOKEN": f"trial-{secrets.token_hex(16)}"},
        user=user,
        persistence=run_folder.persistence(OWN_SLOT),
    )
    tree = await trees.spawn(launch)
    try:
        await tree.exited()
    finally:
        with trio.CancelScope(shield=True):
            await tree.kill_until_empty(TRIAL_TIMEOUT)
            status = await tree.reap()
            await tree.output.aclose()
    tried = Path(run_folder.files_dir) / "tried"
    try:
        if status.code == 0 and tried.lstat().st_uid == user.ids.uid:
            return ""
    except OSError as error:
        return f"{tried}: {error.strerror}"
    return f"a shell of it ended with {status}"
