"""Everything an agent touches outside itself, opened together: disk, processes, plugins, host.

A simulated agent gets another one of these, and nothing else about it changes.
"""

from __future__ import annotations

import os
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.util import find_spec
from typing import Protocol

import attrs
import trio

from trio_afrender.agent.journal import open_journal
from trio_afrender.agent.journal_format import Journal, PendingState
from trio_afrender.agent.run_history import DiskRunHistory, RunHistory
from trio_afrender.agent.state_dir import StateDir, open_state_dir
from trio_afrender.agent.takeover import (
    TakeoverResult,
    adopt_running_tasks,
    dismiss_run,
    open_process_backend,
)
from trio_afrender.config import Config
from trio_afrender.hostinfo.identity import HostFacts, host_facts
from trio_afrender.hostinfo.memory import ReadHeadroom, make_headroom_reader
from trio_afrender.hostinfo.process_inspection import Examine, inspect_process
from trio_afrender.hostinfo.process_usage import ThreadedUsageReader, make_usage_reader
from trio_afrender.hostinfo.sampler import Sampler, make_sampler_config
from trio_afrender.plugins.host.host_pool import open_plugin_host
from trio_afrender.plugins.interfaces import PluginRunner
from trio_afrender.plugins.meters.service import Meters, MeterSource, NoMeters
from trio_afrender.process.host_commands import Ask, SpawnDetached, ask_command, spawn_detached
from trio_afrender.process.interfaces import Spawn
from trio_afrender.protocol.messages import HostResources, TaskExec
from trio_afrender.task.image_worker import ImageWorker, open_image_worker
from trio_afrender.task.launch import AgentEnvironment
from trio_afrender.task.run_folder import (
    OpenRunFolder,
    open_run_folder,
    read_stored_output,
    remove_run_folders,
    run_folder_name,
)
from trio_afrender.task.tools import ProcessUsageReader
from trio_afrender.tasklog.io_threads import work_in_thread
from trio_afrender.tasklog.redact import Redactor

__all__ = ("AgentDependencies", "AgentJournal", "open_agent_dependencies")


class AgentJournal(Journal, Protocol):
    """The journal as the agent runs it."""

    @property
    def held(self) -> PendingState:
        """What an earlier agent left, as of the opening."""
        ...

    async def run(self, *, saved: Callable[[], None], now: Callable[[], PendingState]) -> None: ...


@attrs.frozen(kw_only=True, eq=False)
class AgentDependencies:
    """What `open_outside` opened. It stays open for as long as the agent runs."""

    spawn: Spawn
    plugins: PluginRunner
    open_run_folder: OpenRunFolder
    remove_places: Callable[[Sequence[TaskExec]], Awaitable[None]]
    dismiss: Callable[[TaskExec], Awaitable[None]]
    """Ends what an earlier agent's supervisor still holds of a run; bounded."""
    facts: HostFacts
    measure: Callable[[], Awaitable[HostResources]]
    spawn_detached: SpawnDetached
    ask: Ask
    journal: AgentJournal
    history: RunHistory
    read_left: Callable[[TaskExec, Redactor], Awaitable[str]]
    """The output of a run whose agent was killed, from its folder."""
    new_token: Callable[[], str]
    """Makes a run's ``AF_TASK_TOKEN``."""
    examine: Examine
    """Looks at processes that do nothing any more."""
    read_headroom: ReadHeadroom
    """How much memory is left."""
    save_server_identity: Callable[[str], Awaitable[None]]
    """Keeps that for the agent after us. Raises OSError."""
    cards_unclaimed: Callable[[], bool]
    """Whether a card works for somebody whom its driver does not name."""
    usage_reader: ProcessUsageReader
    """The figures of tasks' processes."""
    image_worker: ImageWorker | None = None
    """Reads images for tasks; None: there is nothing here that could."""
    meters: MeterSource = attrs.field(factory=NoMeters)
    remembered: str = ""
    """What the server knew the agent before us by (`link.afserver`)."""
    inherited: TakeoverResult = attrs.field(factory=TakeoverResult)
    """What goes on of an earlier agent's, and what was ended before we began."""
    environ: Mapping[str, str] = attrs.field(factory=dict)
    """The variables that tasks inherit, before what they may not have is taken out."""
    wall: Callable[[], float] = time.time
    jitter: random.Random = attrs.field(factory=random.Random)


@asynccontextmanager
async def open_agent_dependencies(config: Config) -> AsyncIterator[AgentDependencies]:
    """Open the real thing. Raises `StoreError`, `StoreInUse`."""
    sampler = Sampler(make_sampler_config(config))
    environ = dict(os.environ)
    plain = AgentEnvironment.of(environ, ()).variables
    async with AsyncExitStack() as stack:
        store = stack.enter_context(open_state_dir(config.store, config.name))
        identity = await work_in_thread(store.identity)
        journal = await work_in_thread(partial(open_journal, store.journal))
        holder = await stack.enter_async_context(open_process_backend(store, config))
        inherited = await adopt_running_tasks(
            store, identity, journal.held, config, keeps=holder.keeps
        )
        kept = {run_folder_name(task) for task in journal.held.tasks.values()}
        await work_in_thread(partial(store.remove_runs, kept))
        remembered = await work_in_thread(store.read_identity_on_server)

        async def remember(text: str) -> None:
            await work_in_thread(partial(store.keep_identity_on_server, text))

        settings = config.plugin_settings()
        async with (
            open_plugin_host(
                settings,
                folders=config.plugins,
                time_limit=config.timing.plugin,
                memory_limit=config.plugin_memory,
            ) as plugins,
            _open_image_worker(config) as image_worker,
        ):
            yield AgentDependencies(
                spawn=holder.spawn,
                plugins=plugins,
                open_run_folder=partial(
                    open_run_folder,
                    store.runs,
                    quota=config.log_quota,
                    supervised=holder.keeps and not config.console,
                ),
                remove_places=partial(remove_run_folders, store.runs),
                dismiss=partial(dismiss_run, store, config.timing),
                facts=await trio.to_thread.run_sync(host_facts),
                measure=sampler.measure,
                environ=environ,
                spawn_detached=partial(spawn_detached, environment=plain),
                ask=partial(ask_command, environment=plain),
                journal=journal,
                history=DiskRunHistory(store.path),
                read_left=partial(_read_left, store, config),
                examine=partial(inspect_process, ask=partial(ask_command, environment=plain)),
                cards_unclaimed=sampler.cards_unclaimed,
                read_headroom=make_headroom_reader(),
                usage_reader=ThreadedUsageReader(make_usage_reader(), sampler.shares),
                image_worker=image_worker,
                meters=Meters(
                    config.meters,
                    settings,
                    config.plugins,
                    time_limit=config.timing.plugin,
                    fork_servers=plugins.fork_servers,
                ),
                new_token=lambda: f"{identity}-{secrets.token_hex(16)}",
                remembered=remembered,
                save_server_identity=remember,
                inherited=inherited,
            )


@asynccontextmanager
async def _open_image_worker(config: Config) -> AsyncIterator[ImageWorker | None]:
    if find_spec("OpenImageIO") is None:
        yield None
        return
    async with open_image_worker(nice=config.nice) as image_worker:
        yield image_worker


async def _read_left(store: StateDir, config: Config, task: TaskExec, redactor: Redactor) -> str:
    limit = min(config.window, 1024 * 1024)
    return await read_stored_output(store.runs, task, limit=limit, redactor=redactor)
