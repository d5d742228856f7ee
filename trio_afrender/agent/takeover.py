"""What an earlier agent of this store left: trees that go on, trees that nobody wants, processes.

A run goes on when the journal knows it, it has no outcome yet, and its tree lives with a parent of its
own or has left word of its end. All else that belongs to this store is ended before anything starts.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import attrs

from trio_afrender.agent.journal_format import PendingState
from trio_afrender.agent.state_dir import StateDir
from trio_afrender.config import Config, Timing
from trio_afrender.process.interfaces import Launch, ProcessTree, Spawn
from trio_afrender.process.leftover_processes import kill_leftovers
from trio_afrender.process.local_spawn import become_subreaper, make_spawn
from trio_afrender.process.supervisor_client import (
    SupervisorError,
    can_supervise,
    find_task_supervisors,
    has_record,
    open_supervisor,
    stop_trees,
)
from trio_afrender.protocol.messages import TaskExec
from trio_afrender.task.run_folder import OWN_SLOT, run_folder_name
from trio_afrender.tasklog.io_threads import work_in_thread

__all__ = (
    "ProcessBackend",
    "TakeoverResult",
    "adopt_running_tasks",
    "dismiss_run",
    "open_process_backend",
)

logger = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class ProcessBackend:
    """Who starts trees and holds them."""

    spawn: Spawn
    keeps: bool
    """Whether they may outlive this agent."""


@attrs.frozen(kw_only=True)
class TakeoverResult:
    """What goes on, and what was ended."""

    runs: frozenset[str] = frozenset()
    strays: tuple[int, ...] = ()


@asynccontextmanager
async def open_process_backend(store: StateDir, config: Config) -> AsyncIterator[ProcessBackend]:
    """Have the supervisor of this store, or do without: then this process is the parent of its tasks."""
    async with AsyncExitStack() as stack:
        yield await _open(store, config, stack)


async def _open(store: StateDir, config: Config, stack: AsyncExitStack) -> ProcessBackend:
    if config.supervisor and can_supervise():
        try:
            supervisor = await stack.enter_async_context(open_supervisor(store.path))
        except SupervisorError as error:
            logger.warning("%s; the agent itself holds its tasks, and they end with it", error)
        else:
            return ProcessBackend(
                spawn=_announce(supervisor.spawn, _describe(supervisor.facts)), keeps=True
            )
    adopts = config.subreaper and become_subreaper()
    text = f"tasks are children of the agent{', which adopts their orphans' * adopts}"
    return ProcessBackend(spawn=_announce(make_spawn(subreaper=adopts), text), keeps=False)


def _announce(spawn: Spawn, text: str) -> Spawn:
    """Say at the first start how trees are held on this host."""
    first = [text]

    async def start(launch: Launch) -> ProcessTree:
        if first:
            logger.info("%s", first.pop())
        return await spawn(launch)

    return start


def _describe(facts: Mapping[str, object]) -> str:
    """The layers that this host allows."""
    cgroups = f"cgroups below {facts['cgroups']}" if facts.get("cgroups") else "no cgroups"
    protected = "protected" if facts.get("protected") else "not protected"
    return (
        f"tasks are held by the supervisor (pid {facts.get('pid')}), each by a parent that adopts its"
        f" orphans; {cgroups}; {protected} when memory is short"
    )


async def adopt_running_tasks(
    store: StateDir, identity: str, held: PendingState, config: Config, *, keeps: bool
) -> TakeoverResult:
    """Find what goes on, and end what does not."""
    timing = config.timing
    look = partial(_look, store, held, keeps=keeps, deadline=timing.grace + timing.sweep)
    runs, parents = await work_in_thread(look)
    if runs:
        logger.info("%s tasks of an earlier agent go on", len(runs))
    if not store.crashed:
        return TakeoverResult(runs=runs)
    found, left = await kill_leftovers(f"{identity}-", timing.grace, timing.sweep, spared=parents)
    if found:
        logger.warning("the agent before this one was killed: ended its processes %s", found)
    if left:
        logger.error("pids %s of the agent before this one survive KILL", left)
    return TakeoverResult(runs=runs, strays=found)


async def dismiss_run(store: StateDir, timing: Timing, task: TaskExec) -> None:
    """End the trees that are held for a run, whatever its state."""
    folder = store.runs / run_folder_name(task)
    if not await work_in_thread(partial(stop_trees, folder, timing.sweep)):
        logger.error("what is left of task %s survives KILL", task.key)


def _look(
    store: StateDir, held: PendingState, *, keeps: bool, deadline: float
) -> tuple[frozenset[str], tuple[int, ...]]:
    """Return the runs that go on, and the parents that hold their trees; end all others."""
    runs: set[str] = set()
    folders = {}
    for task in held.unfinished if keeps else ():
        folder = store.runs / run_folder_name(task)
        if has_record(str(folder / OWN_SLOT)):
            runs.add(task.run)
            folders[folder.name] = folder
    parents = [pid for folder in folders.values() for pid in find_task_supervisors(folder)]
    for folder in store.runs.iterdir():
        if folder.name not in folders and not stop_trees(folder, deadline):
            logger.error("what is left of the run in %s survives KILL", folder)
    return frozenset(runs), tuple(parents)
