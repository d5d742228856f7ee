"""Take over what an earlier agent of this state directory left: running trees, outcomes, processes.

A run continues if the journal has it, it has no outcome yet, and its tree is still supervised or
has left an exit record. Every other tree and process of this state directory is ended before
anything new starts. Outcomes that the server has not closed are delivered by this agent, and runs
that cannot continue are given back.

Order: `adopt_running_tasks` comes first, because it decides which trees live on; `recover` fills
the outbox afterwards, and the agent registers only then.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial

import attrs

from trio_afrender.agent.journal_format import PendingState
from trio_afrender.agent.outbox import Outbox
from trio_afrender.agent.state_dir import StateDir
from trio_afrender.config import Config, Timing
from trio_afrender.process.interfaces import Launch, ProcessTree, Spawn, TreeHolder
from trio_afrender.process.tree_holder import (
    find_task_supervisors,
    has_record,
    kill_leftovers,
    stop_trees,
)
from trio_afrender.protocol.messages import Reason, TaskExec, TaskStatus, TaskUpdate
from trio_afrender.task.dependencies import TaskDependencies
from trio_afrender.task.run_folder import OWN_SLOT, run_folder_name
from trio_afrender.tasklog.io_threads import retry_exhausted, work_in_thread
from trio_afrender.tasklog.redact import Redactor, find_secrets

__all__ = (
    "TakeoverResult",
    "adopt_running_tasks",
    "dismiss_run",
    "make_spawn",
    "recover",
)

logger: logging.Logger = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class TakeoverResult:
    """The runs that continue, and the processes that were ended."""

    runs: frozenset[str] = frozenset()
    """Ids of the runs that continue."""
    killed: tuple[int, ...] = ()
    """Pids of an earlier agent's processes."""
    unkillable: tuple[int, ...] = ()
    """Pids of those that survived KILL."""


# -- process trees -------------------------------------------------------------------------------


def make_spawn(holder: TreeHolder) -> Spawn:
    """Return `holder.spawn`, with what holds the trees logged at its first call."""
    first = [holder.description]

    async def start(launch: Launch) -> ProcessTree:
        if first:
            logger.info("%s", first.pop())
        return await holder.spawn(launch)

    return start


async def adopt_running_tasks(
    store: StateDir, identity: str, held: PendingState, config: Config
) -> TakeoverResult:
    """Find the runs that continue; end all other trees and processes of this state directory."""
    timing = config.timing
    separate = partial(_separate_trees, store, held, timing.grace + timing.sweep)
    runs, task_supervisors, emptied = await work_in_thread(separate)
    if runs:
        logger.info("%s tasks of an earlier agent continue", len(runs))
    if emptied and not store.crashed:
        return TakeoverResult(runs=runs)
    # A task supervisor may have been killed as well, or have had no time to end its tree. Such
    # processes are found by the identity in their environment (AF_TASK_TOKEN). The scan reads the environment of every process of the
    # host, so a clean start skips it.
    found, left = await kill_leftovers(
        f"{identity}-", timing.grace, timing.sweep, spared=task_supervisors
    )
    if found:
        logger.warning("the agent before this one was killed: ended its processes %s", found)
    if left:
        logger.error("pids %s of the agent before this one survive KILL", left)
    return TakeoverResult(runs=runs, killed=found, unkillable=left)


async def dismiss_run(store: StateDir, timing: Timing, task: TaskExec) -> None:
    """End the supervised trees of a run, whatever its state. Takes at most `Timing.sweep`."""
    folder = store.runs / run_folder_name(task)
    if not await work_in_thread(partial(stop_trees, folder, timing.sweep)):
        logger.error("processes of task %s survive KILL", task.key)


def _separate_trees(
    store: StateDir, held: PendingState, deadline: float
) -> tuple[frozenset[str], tuple[int, ...], bool]:
    """Return the runs that continue, and the pids of their task supervisors; end all other trees.

    The last value is whether all of those are empty, and each unfinished run was found: a task may
    have removed its socket. Blocks.
    """
    runs: set[str] = set()
    folders = {}
    for task in held.unfinished:
        folder = store.runs / run_folder_name(task)
        if has_record(str(folder / OWN_SLOT)):
            runs.add(task.run)
            folders[folder.name] = folder
    task_supervisors = [pid for folder in folders.values() for pid in find_task_supervisors(folder)]
    emptied = len(runs) == len(held.unfinished)
    for folder in store.runs.iterdir():
        if folder.name not in folders and not stop_trees(folder, deadline):
            logger.error("processes of the run in %s survive KILL", folder)
            emptied = False
    return frozenset(runs), tuple(task_supervisors), emptied


# -- outcomes ------------------------------------------------------------------------------------


async def recover(
    held: PendingState,
    inherited: TakeoverResult,
    outbox: Outbox,
    dependencies: TaskDependencies,
    read_stored_output: Callable[[TaskExec, Redactor], Awaitable[str]],
) -> tuple[TaskExec, ...]:
    """Fill `outbox` with what the journal holds; return the tasks of the runs that continue.

    Every other run without an outcome is given back, with the output that its log folder has. Its
    processes have been ended by `adopt_running_tasks`.
    """
    outbox.restore(held)
    if held.outcomes:
        logger.info("%s results of an earlier agent are still to be delivered", len(held.outcomes))
    continued = tuple(task for task in held.unfinished if task.run in inherited.runs)
    for task in continued:
        outbox.continue_numbering(task.run, int(dependencies.wall() * 1000))
    for task in held.unfinished:
        if task in continued:
            continue
        logger.warning("task %s (%s) lost its agent: given back", task.key, task.name)
        now = dependencies.wall()
        secrets = (
            *dependencies.environment.secrets,
            *find_secrets(task.environment, dependencies.environment.redact),
        )
        why = [Reason(time=now, event="crash", text="the agent was killed while the task ran")]
        read = partial(read_stored_output, task, Redactor(secrets))
        try:
            output = await retry_exhausted(read)
        except OSError as error:
            # A task may have taken the rights from its own log: that must keep no agent from its
            # start (test_a_stored_output_that_cannot_be_read_keeps_no_agent_from_starting).
            output, text = "", f"its output cannot be read: {error.strerror or error}"
            why.append(Reason(time=now, event="output", text=text))
        if inherited.killed:
            text = "processes of that agent were ended before this one started"
            why.append(Reason(time=now, event="sweep", text=text, pids=inherited.killed))
        update = TaskUpdate(
            run=task.run,
            **task.key._asdict(),
            status=TaskStatus.GiveBack,
            output=output,
            finished=now,
            why=tuple(why),
        )
        outbox.put_log(task.run, "The agent was killed while the task ran: given back.\n")
        outbox.put_outcome(update, task)
    return continued
