"""An agent in virtual time on a host in memory, with a server that the test controls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import attrs
import trio

from trio_afrender import AgentHandle, Config, Timing, run_agent
from trio_afrender.protocol.messages import Events, TaskExec, TaskUpdate, Update
from trio_afrender.testing import (
    FakeChild,
    MemoryHost,
    ScriptedLink,
    ScriptedServer,
    open_scripted_server,
)

TIMING = Timing(grace=10.0, drain=1.0, shutdown=60.0, heartbeat=1.0)


CONFIG = Config(name="n1", timing=TIMING)


def make_task(run: str = "r1", task: int = 0, parser: str = "generic") -> TaskExec:
    return TaskExec(
        run=run, job=2, block=0, task=task, parser=parser, command_block=f"render {task}"
    )


@attrs.define(eq=False)
class Stage:
    """An agent on a host in memory, and its server."""

    server: ScriptedServer
    host: MemoryHost
    agent: AgentHandle
    config: Config


@asynccontextmanager
async def open_stage(
    config: Config = CONFIG,
    *,
    host: MemoryHost | None = None,
    server: ScriptedServer | None = None,
) -> AsyncIterator[Stage]:
    """Start an agent; leaving the context ends it as `kill -9` would. Without `server`, start one."""
    if server is None:
        async with (
            open_scripted_server() as own,
            open_stage(config, host=host, server=own) as stage,
        ):
            yield stage
        return
    host = host if host is not None else MemoryHost()
    async with trio.open_nursery() as nursery:
        agent = await nursery.start(
            partial(run_agent, config, connect=server.connect, outside=host.open())
        )
        yield Stage(server, host, agent, config)
        nursery.cancel_scope.cancel()


async def expect_task(link: ScriptedLink, *, over: bool | None = None, run: str = "") -> TaskUpdate:
    """Return the next update of a task: of any run or of `run`, with an outcome (`over`) or not."""

    def matches(task: TaskUpdate) -> bool:
        return (not run or task.run == run) and over in (None, task.status.terminal)

    update = await link.expect(Update, lambda u: any(matches(t) for t in u.tasks))
    return next(t for t in update.tasks if matches(t))


async def begin(stage: Stage) -> tuple[ScriptedLink, FakeChild]:
    """Accept the render, hand out one task, and wait until the render reports it as running."""
    link = await stage.server.accept()
    await link.welcome()
    await link.send(Events(tasks=(make_task(),)))
    child = await stage.host.spawn.next()
    await expect_task(link)
    return link, child


@asynccontextmanager
async def keep_reading(link: ScriptedLink) -> AsyncIterator[list[TaskUpdate]]:
    """Receive updates while the body waits for something else; yield the task updates."""
    # A server that does not read answers no pings, and the agent would reconnect.
    received: list[TaskUpdate] = []

    async def read() -> None:
        while True:
            received.extend((await link.expect(Update)).tasks)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        yield received
        nursery.cancel_scope.cancel()
