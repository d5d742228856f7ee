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
from trio_afrender.agent.journal_format import Held, Journal
from trio_afrender.agent.run_history import DiskHistory, History
from trio_afrender.agent.state_dir import Store, open_store
from trio_afrender.agent.takeover import Inherited, dismiss_run, open_holder, take_stock
from trio_afrender.config import Config
from trio_afrender.hostinfo.identity import HostFacts, host_facts
from trio_afrender.hostinfo.memory_headroom import ReadRoom, make_room_reader
from trio_afrender.hostinfo.process_inspection import Examine, examine
from trio_afrender.hostinfo.process_usage import make_usage_reader
from trio_afrender.hostinfo.sampler import Sampler, make_wishes
from trio_afrender.hostinfo.usage_sampling import ThreadGauge
from trio_afrender.plugins.host.host_pool import open_plugin_host
from trio_afrender.plugins.interfaces import PluginRunner
from trio_afrender.plugins.meters.service import Meters, MeterSource, NoMeters
from trio_afrender.process.host_commands import Ask, RunAside, ask_command, run_aside
from trio_afrender.process.interfaces import Spawn
from trio_afrender.protocol.messages import HostResources, TaskExec
from trio_afrender.task.image_worker import Painter, open_painter
from trio_afrender.task.launch import AgentEnvironment
from trio_afrender.task.run_folder import (
    OpenPlace,
    open_disk_place,
    place_name,
    read_left,
    remove_places,
)
from trio_afrender.task.tools import Gauge
from trio_afrender.tasklog.io_threads import work_in_thread
from trio_afrender.tasklog.redact import Redactor

__all__ = ("AgentJournal", "Outside", "open_outside")


class AgentJournal(Journal, Protocol):
    """The journal as the agent runs it."""

    @property
    def held(self) -> Held:
        """What an earlier agent left, as of the opening."""
        ...

    async def run(self, *, saved: Callable[[], None], now: Callable[[], Held]) -> None: ...


@attrs.frozen(kw_only=True, eq=False)
class Outside:
    """What `open_outside` opened. It stays open for as long as the agent runs."""

    spawn: Spawn
    plugins: PluginRunner
    open_place: OpenPlace
    remove_places: Callable[[Sequence[TaskExec]], Awaitable[None]]
    dismiss: Callable[[TaskExec], Awaitable[None]]
    """Ends what an earlier agent's keeper still holds of a run; bounded."""
    facts: HostFacts
    measure: Callable[[], Awaitable[HostResources]]
    run_aside: RunAside
    ask: Ask
    journal: AgentJournal
    history: History
    read_left: Callable[[TaskExec, Redactor], Awaitable[str]]
    """The output of a run whose agent was killed, from its folder."""
    new_token: Callable[[], str]
    """Makes a run's ``AF_TASK_TOKEN``."""
    examine: Examine
    """Looks at processes that do nothing any more."""
    read_room: ReadRoom
    """How much memory is left."""
    remember: Callable[[str], Awaitable[None]]
    """Keeps that for the agent after us. Raises OSError."""
    cards_unclaimed: Callable[[], bool]
    """Whether a card works for somebody whom its driver does not name."""
    gauge: Gauge
    """The figures of tasks' processes."""
    painter: Painter | None = None
    """Reads images for tasks; None: there is nothing here that could."""
    meters: MeterSource = attrs.field(factory=NoMeters)
    remembered: str = ""
    """What the server knew the agent before us by (`link.afserver`)."""
    inherited: Inherited = attrs.field(factory=Inherited)
    """What goes on of an earlier agent's, and what was ended before we began."""
    environ: Mapping[str, str] = attrs.field(factory=dict)
    """The variables that tasks inherit, before what they may not have is taken out."""
    wall: Callable[[], float] = time.time
    dice: random.Random = attrs.field(factory=random.Random)


@asynccontextmanager
async def open_outside(config: Config) -> AsyncIterator[Outside]:
    """Open the real thing. Raises `StoreError`, `StoreInUse`."""
    sampler = Sampler(make_wishes(config))
    environ = dict(os.environ)
    plain = AgentEnvironment.of(environ, ()).variables
    async with AsyncExitStack() as stack:
        store = stack.enter_context(open_store(config.store, config.name))
        identity = await work_in_thread(store.identity)
        journal = await work_in_thread(partial(open_journal, store.journal))
        holder = await stack.enter_async_context(open_holder(store, config))
        inherited = await take_stock(store, identity, journal.held, config, keeps=holder.keeps)
        kept = {place_name(task) for task in journal.held.tasks.values()}
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
            _open_painter(config) as painter,
        ):
            yield Outside(
                spawn=holder.spawn,
                plugins=plugins,
                open_place=partial(
                    open_disk_place,
                    store.runs,
                    quota=config.log_quota,
                    kept=holder.keeps and not config.console,
                ),
                remove_places=partial(remove_places, store.runs),
                dismiss=partial(dismiss_run, store, config.timing),
                facts=await trio.to_thread.run_sync(host_facts),
                measure=sampler.measure,
                environ=environ,
                run_aside=partial(run_aside, environment=plain),
                ask=partial(ask_command, environment=plain),
                journal=journal,
                history=DiskHistory(store.path),
                read_left=partial(_read_left, store, config),
                examine=partial(examine, ask=partial(ask_command, environment=plain)),
                cards_unclaimed=sampler.cards_unclaimed,
                read_room=make_room_reader(),
                gauge=ThreadGauge(make_usage_reader(), sampler.shares),
                painter=painter,
                meters=Meters(
                    config.meters,
                    settings,
                    config.plugins,
                    time_limit=config.timing.plugin,
                    templates=plugins.templates,
                ),
                new_token=lambda: f"{identity}-{secrets.token_hex(16)}",
                remembered=remembered,
                remember=remember,
                inherited=inherited,
            )


@asynccontextmanager
async def _open_painter(config: Config) -> AsyncIterator[Painter | None]:
    if find_spec("OpenImageIO") is None:
        yield None
        return
    async with open_painter(nice=config.nice) as painter:
        yield painter


async def _read_left(store: Store, config: Config, task: TaskExec, redactor: Redactor) -> str:
    limit = min(config.window, 1024 * 1024)
    return await read_left(store.runs, task, limit=limit, redactor=redactor)
