"""Everything with side effects that an agent uses: disk, processes, plugins, host figures.

It is opened as one object, so that a simulated agent differs from a real one by this object alone.
"""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, TypeVar

import attrs

from trio_afrender.agent.journal import open_journal
from trio_afrender.agent.journal_format import Journal, PendingState
from trio_afrender.agent.run_history import DiskRunHistory, RunHistory
from trio_afrender.agent.state_dir import open_state_dir
from trio_afrender.agent.takeover import (
    TakeoverResult,
    adopt_running_tasks,
    dismiss_run,
    make_spawn,
)
from trio_afrender.agent.task_user_trial import open_task_users
from trio_afrender.agent.unix_settings import refuse_unix_settings
from trio_afrender.config import Config
from trio_afrender.errors import StoreError
from trio_afrender.hostinfo.identity import HostFacts, host_facts
from trio_afrender.hostinfo.memory import make_headroom_reader
from trio_afrender.hostinfo.process_inspection import inspect_process
from trio_afrender.hostinfo.process_usage import ThreadedUsageReader, make_usage_reader
from trio_afrender.hostinfo.sampler import Sampler, make_sampler_config
from trio_afrender.plugins.host.host_pool import open_plugin_host
from trio_afrender.plugins.meters.service import Meters, MeterSource
from trio_afrender.process.command_result import Ask, SpawnDetached
from trio_afrender.process.environment import find_inheritable
from trio_afrender.process.task_user import TaskUser
from trio_afrender.process.tree_holder import (
    ask_command,
    open_tree_holder,
    probe_host,
    spawn_detached,
    wait_gone,
)
from trio_afrender.protocol.messages import HostResources, TaskExec, Update
from trio_afrender.task.dependencies import TaskDependencies
from trio_afrender.task.file_spool import FileSpool
from trio_afrender.task.image_worker import ImageWorkers, open_image_workers
from trio_afrender.task.run_folder import (
    find_inherited_user,
    open_run_folder,
    read_stored_output,
    run_folder_name,
)
from trio_afrender.tasklog.io_threads import (
    call_in_thread,
    open_reserve,
    retry_exhausted,
    work_in_thread,
)
from trio_afrender.tasklog.redact import Redactor

__all__ = ("AgentDependencies", "AgentJournal", "open_agent_dependencies")


class AgentJournal(Journal, Protocol):
    """The agent's view of the journal: `Journal`, its state at the opening, and its writer."""

    @property
    def held(self) -> PendingState:
        """The state that an earlier agent left, as of the opening."""
        ...

    async def run(self, *, saved: Callable[[], None], now: Callable[[], PendingState]) -> None:
        """Write queued records until cancelled; see `journal.DiskJournal.run`."""
        ...


@attrs.frozen(kw_only=True, eq=False)
class AgentDependencies(TaskDependencies):
    """The parts that `open_agent_dependencies` opens. They stay open while the agent runs.

    Its runs get the same object and see it as `TaskDependencies`.
    """

    remove_run_folders: Callable[[Sequence[TaskExec]], Awaitable[None]]
    facts: HostFacts
    measure: Callable[[], Awaitable[HostResources]]
    spawn_detached: SpawnDetached
    ask: Ask
    journal: AgentJournal
    history: RunHistory
    read_stored_output: Callable[[TaskExec, Redactor], Awaitable[str]]
    """Reads the output of a run whose agent was killed, from its folder."""
    load_files: Callable[[Update], Awaitable[Update]]
    """Returns an update of the outbox with the contents of its files. Raises `OSError`."""
    save_server_identity: Callable[[str], Awaitable[None]]
    """Stores the identity on an afserver for the next agent. Raises `OSError`."""
    meters: MeterSource
    server_identity: str
    """The identity on an afserver that an earlier agent stored (`afserver.Identity`)."""
    inherited: TakeoverResult
    """The runs of an earlier agent that continue, and the processes of it that were ended."""
    wait_gone: Callable[[Collection[int]], Awaitable[None]] = wait_gone
    """Waits until processes have ended that no KILL ends."""
    helper_failures: Callable[[], Mapping[str, int]] = dict
    """How often each kind of process beside the agent was replaced or lost, since the start."""
    environ: Mapping[str, str]
    """The variables that tasks inherit, with those that `find_inheritable` withholds."""
    jitter: random.Random = attrs.field(factory=random.Random)


_T = TypeVar("_T")


@asynccontextmanager
async def open_agent_dependencies(config: Config) -> AsyncIterator[AgentDependencies]:
    """Open the dependencies of a real agent. Raises `ConfigError`, `StoreError` and `StoreInUse`."""
    refuse_unix_settings(config)
    sampler = Sampler(make_sampler_config(config))
    environ = dict(os.environ)
    plain = find_inheritable(environ)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(open_reserve())
        store = stack.enter_context(open_state_dir(config.store, config.name))

        async def do(attempt: Callable[[], Awaitable[_T]]) -> _T:
            # Each step of the start is done again while the host has nothing left for it.
            try:
                return await retry_exhausted(attempt)
            except OSError as error:
                raise StoreError.of(store.path, error) from error

        identity = await do(partial(work_in_thread, store.identity))
        run_token = await do(partial(work_in_thread, store.make_run_token))
        journal = await do(partial(work_in_thread, partial(open_journal, store.journal)))
        trees = await stack.enter_async_context(
            open_tree_holder(store.path, config.windows_must_die)
        )
        users = await do(partial(open_task_users, config.tasks, store, trees))
        # Processes of an earlier agent end before its folders are removed and before anything new
        # starts, so that two processes never write into one folder.
        adopt = partial(adopt_running_tasks, store, identity, journal.held, config)
        inherited = await do(adopt)
        kept = {run_folder_name(task) for task in journal.held.tasks.values()}
        await do(partial(work_in_thread, partial(store.remove_runs, kept)))
        spool = await do(partial(work_in_thread, partial(FileSpool, store.spool)))
        await do(partial(work_in_thread, partial(spool.remove_others, journal.held.tasks)))
        server_identity = await do(partial(work_in_thread, store.read_server_identity))

        async def save_server_identity(text: str) -> None:
            await work_in_thread(partial(store.save_server_identity, text))

        has_task_folders = await do(partial(work_in_thread, store.task_folders.exists))

        async def find_user(task: TaskExec, inherited: bool) -> TaskUser | None:
            if not inherited:
                return await users.of_job(task.user_name)
            # Its folders and its processes are those of the user that it was started as.
            return await find_inherited_user(store.task_folders, task) if has_task_folders else None

        def list_folders(tasks: Sequence[TaskExec]) -> list[Path]:
            roots = (store.runs, store.task_folders) if has_task_folders else (store.runs,)
            folders = [root / run_folder_name(task) for task in tasks for root in roots]
            return [*folders, *spool.forget(task.run for task in tasks)]

        async def load_files(update: Update) -> Update:
            return await work_in_thread(partial(spool.load, update), abandon=True)

        settings = config.plugin_settings()
        plugins = await stack.enter_async_context(
            open_plugin_host(
                settings,
                folders=config.plugins,
                time_limit=config.timing.plugin,
                memory_limit=config.plugin_memory,
            )
        )
        image_workers: ImageWorkers | None = None
        if find_spec("OpenImageIO") is not None:
            image_workers = await stack.enter_async_context(open_image_workers(nice=config.nice))
        yield AgentDependencies(
            spawn=make_spawn(trees),
            plugins=plugins,
            recorder=journal,
            open_run_folder=partial(
                open_run_folder,
                store.runs,
                quota=config.log_quota,
                store_files=spool.write,
                task_folders=store.task_folders,
            ),
            find_user=find_user,
            remove_run_folders=lambda tasks: trees.remove_folders(list_folders(tasks)),
            dismiss=partial(dismiss_run, store, config.timing),
            probe=partial(probe_host, store.path, config.limits.processes),
            facts=await do(partial(call_in_thread, host_facts)),
            measure=sampler.measure,
            environ=environ,
            spawn_detached=partial(spawn_detached, environment=plain),
            ask=partial(ask_command, environment=plain),
            journal=journal,
            history=DiskRunHistory(store.path),
            read_stored_output=lambda task, redactor: read_stored_output(
                store.runs, task, limit=min(config.window, 1024 * 1024), redactor=redactor
            ),
            examine=partial(inspect_process, ask=partial(ask_command, environment=plain)),
            gpus_unclaimed=sampler.cards_unclaimed,
            read_headroom=make_headroom_reader(),
            usage_reader=ThreadedUsageReader(
                make_usage_reader(), sampler.shares, sampler.wait_measured
            ),
            image_worker=image_workers.own if image_workers is not None else None,
            image_worker_of=image_workers.of if image_workers is not None else None,
            meters=Meters(
                config.meters,
                settings,
                config.plugins,
                time_limit=config.timing.plugin,
                fork_servers=plugins.fork_servers,
            ),
            helper_failures=lambda: {
                "supervisor": trees.restarts,
                "plugin_host": plugins.failures,
            },
            run_token=run_token,
            server_identity=server_identity,
            load_files=load_files,
            save_server_identity=save_server_identity,
            inherited=inherited,
        )
