"""A whole agent in virtual time, connected to a fake afserver with Afanasy's own protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import attrs
import trio

from trio_afrender import AgentHandle, Config, Timing, run_agent
from trio_afrender.protocol.messages import TaskExec, TaskKey
from trio_afrender.testing import (
    FakeChild,
    MemoryHost,
    NativeServer,
    NativeState,
    NativeTask,
    open_native_server,
)

CONFIG = Config(name="n1", server="af://farm", user_name="ann", timing=Timing(heartbeat=1.0))


def make_task(number: int = 0, *, job: int = 2, user: str = "ann") -> TaskExec:
    return TaskExec(
        run="",
        job=job,
        block=0,
        task=number,
        name=f"frame {number}",
        user_name=user,
        parser="generic",
        command_task=f"render {number}",
    )


async def until_done(server: NativeServer, task: NativeTask) -> None:
    """Wait until the server has counted a task as done."""
    await server.until(lambda: task.state is NativeState.DONE)


@attrs.define(eq=False)
class NativeStage:
    """An agent on a host in memory, and its server."""

    server: NativeServer
    host: MemoryHost
    agent: AgentHandle
    nursery: trio.Nursery
    config: Config

    async def begin(self, number: int = 0) -> tuple[NativeTask, FakeChild]:
        """Have the server hand out a task, and wait until the agent reports it as running."""
        task = self.server.add_task(make_task(number))
        child = await self.host.spawn.next()
        await self.server.until(lambda: any(up.status == 3 for _, up in self.server.ups(task.key)))
        return task, child

    async def begin_for(self, user: str) -> tuple[NativeTask, FakeChild]:
        """Have the server hand out a task of `user`, and wait until its process starts."""
        task = self.server.add_task(make_task(user=user))
        child = await self.host.spawn.next()
        return task, child

    def statuses(self, key: TaskKey) -> list[int]:
        """Return the statuses that were sent for a task, without repetitions."""
        sent = [up.status for _, up in self.server.ups(key)]
        return [status for at, status in enumerate(sent) if at == 0 or sent[at - 1] != status]


@asynccontextmanager
async def open_native_stage(
    config: Config = CONFIG, *, host: MemoryHost | None = None, server: NativeServer | None = None
) -> AsyncIterator[NativeStage]:
    """Start an agent; leaving the context ends it as `kill -9` would. Without `server`, start one."""
    if server is None:
        async with (
            open_native_server() as own,
            open_native_stage(config, host=host, server=own) as stage,
        ):
            yield stage
            assert own.complaints == []
        return
    host = host or MemoryHost()
    async with trio.open_nursery() as nursery:
        agent = await nursery.start(
            partial(run_agent, config, connect=server.connect(config, host), outside=host.open())
        )
        yield NativeStage(server, host, agent, nursery, config)
        nursery.cancel_scope.cancel()
