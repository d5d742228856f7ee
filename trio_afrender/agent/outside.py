"""Everything an agent touches outside itself, opened together: disk, processes, plugins, host.

A simulated agent gets another one of these, and nothing else about it changes.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

import attrs
import trio

from trio_afrender.agent.store import open_store
from trio_afrender.child.base import Spawn
from trio_afrender.child.commands import Ask, RunAside, ask_command, run_aside
from trio_afrender.child.spawn import make_spawn
from trio_afrender.config import Config
from trio_afrender.host.facts import HostFacts, host_facts
from trio_afrender.host.sampler import Sampler
from trio_afrender.messages import HostResources, TaskExec
from trio_afrender.plugins.base import PluginRunner
from trio_afrender.plugins.host_client import open_plugin_host
from trio_afrender.task.command import AgentEnvironment
from trio_afrender.task.place import OpenPlace, open_disk_place, remove_places

__all__ = ("Outside", "open_outside")

_sampling = trio.CapacityLimiter(2)
"""psutil and NVML can hang with a sick driver: theirs are the only threads that do then."""


@attrs.frozen(kw_only=True, eq=False)
class Outside:
    """What `open_outside` opened. It stays open for as long as the agent runs."""

    spawn: Spawn
    plugins: PluginRunner
    open_place: OpenPlace
    remove_places: Callable[[Sequence[TaskExec]], Awaitable[None]]
    facts: HostFacts
    measure: Callable[[], Awaitable[HostResources]]
    run_aside: RunAside
    ask: Ask
    environ: Mapping[str, str] = attrs.field(factory=dict)
    """The variables that tasks inherit, before what they may not have is taken out."""
    wall: Callable[[], float] = time.time
    dice: random.Random = attrs.field(factory=random.Random)


@asynccontextmanager
async def open_outside(config: Config) -> AsyncIterator[Outside]:
    """Open the real thing. Raises `StoreError`, `StoreInUse`."""
    sampler = Sampler(config.disk_path)

    async def measure() -> HostResources:
        return await trio.to_thread.run_sync(
            sampler.sample, limiter=_sampling, abandon_on_cancel=True
        )

    environ = dict(os.environ)
    plain = AgentEnvironment.of(environ, ()).variables
    with open_store(config.store, config.name) as store:
        settings = config.plugin_settings()
        async with open_plugin_host(
            settings, folders=config.plugins, time_limit=config.timing.plugin
        ) as plugins:
            yield Outside(
                spawn=make_spawn(subreaper=config.subreaper),
                plugins=plugins,
                open_place=partial(open_disk_place, store.runs, quota=config.log_quota),
                remove_places=partial(remove_places, store.runs),
                facts=await trio.to_thread.run_sync(host_facts, limiter=_sampling),
                measure=measure,
                environ=environ,
                run_aside=partial(run_aside, environment=plain),
                ask=partial(ask_command, environment=plain),
            )
