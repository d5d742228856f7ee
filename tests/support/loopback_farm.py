"""A farm and agents on loopback in one trio run, for tests of failures.

Besides the failure itself each such test checks that other tasks are done, that the agent is still
online and takes tasks, and that no process is left.
"""

from __future__ import annotations

import ssl
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import psutil
import trio

from support.cli import GUARD, Command, make_gate, open_command, open_gate, pass_gate
from support.process import find_marked
from trio_afrender import Config, run_agent
from trio_afrender.agent.agent import AgentHandle
from trio_afrender.config import Timing, Token
from trio_afrender.farm.farm import Farm, FarmSettings, open_farm
from trio_afrender.jobs.job_file import parse_job
from trio_afrender.jobs.views import JobView, TaskView
from trio_afrender.transport.tokens import TokenTable, make_token
from trio_afrender.transport.websocket_server import BoundAddress, Handler, serve_websocket

__all__ = (
    "SHORT_TIMING",
    "FarmServer",
    "Gated",
    "LoopbackFarm",
    "block",
    "open_agent",
    "open_loopback_farm",
    "reasons",
    "stored",
)

SHORT_TIMING = Timing(grace=0.5, drain=0.2, heartbeat=0.2)
"""Times that are long enough for a busy machine and short enough for a test."""
NO_RETRIES = FarmSettings(errors_retries=0, pause=0.05)
_MARK = "LOOPBACK_FARM_MARK"


def block(*commands: str, name: str = "b", **fields: object) -> dict[str, object]:
    """A block of a job with a task for each command; an agent runs several at once."""
    tasks = [{"name": f"t{i}", "command": command} for i, command in enumerate(commands)]
    return {"name": name, "service": "generic", "capacity": 100, "tasks": tasks, **fields}


def reasons(task: TaskView) -> str:
    """The reasons of a task, as the command ``why`` prints them."""
    return "\n".join(step.text for step in task.why)


def stored(farm_folder: Path, task: TaskView) -> bytes:
    """The output of a task's last attempt on the farm's disk."""
    folder = farm_folder / str(task.job) / f"{task.block}.{task.task}"
    return (folder / f"output.{task.attempts}.txt").read_bytes()


@attrs.define(eq=False)
class FarmServer:
    """The farm's websocket server. It can be closed and opened again on the same port."""

    farm: Farm
    token: Token
    _nursery: trio.Nursery
    port: int = 0
    ssl_context: ssl.SSLContext | None = None
    """A change takes effect when the server is opened the next time."""
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _closed: trio.Event = attrs.field(factory=trio.Event)

    @property
    def url(self) -> str:
        return f"{'wss' if self.ssl_context else 'ws'}://127.0.0.1:{self.port}"

    async def open(
        self, handler: Handler | None = None, *, tokens: TokenTable | None = None
    ) -> None:
        """Accept agents. Without a `handler` the farm serves them."""
        self._scope, self._closed = trio.CancelScope(), trio.Event()
        serve = partial(
            serve_websocket,
            handler or self.farm.serve_link,
            tokens=tokens or TokenTable.single(self.token),
            port=self.port,
            ssl_context=self.ssl_context,
        )
        bound: BoundAddress = await self._nursery.start(self._run, serve)
        self.port = bound.port

    async def _run(
        self, serve: partial[object], *, task_status: trio.TaskStatus[BoundAddress]
    ) -> None:
        with self._scope:
            await serve(task_status=task_status)  # type: ignore[misc]  # a partial hides what it awaits
        self._closed.set()

    async def close(self) -> None:
        """Cut all links and stop listening."""
        self._scope.cancel()
        await self._closed.wait()


@attrs.define(eq=False)
class LoopbackFarm:
    """A farm on disk, its server, and agents in this process. Made by `open_loopback_farm`."""

    folder: Path
    farm: Farm
    server: FarmServer
    mark: str
    _nursery: trio.Nursery
    agents: list[AgentHandle] = attrs.field(factory=list)

    async def agent(self, name: str = "render-1", **settings: object) -> AgentHandle:
        """Start an agent, which is drained at the end."""
        config = Config(
            name=name,
            server=self.server.url,
            token=self.server.token,
            store=self.folder / "store",
            max_tasks=10,
            timing=SHORT_TIMING,
        )
        config = attrs.evolve(config, **settings)  # type: ignore[arg-type]  # any setting
        handle: AgentHandle = await self._nursery.start(run_agent, config)
        self.agents.append(handle)
        return handle

    def submit(self, *blocks: dict[str, object]) -> int:
        """Submit a job whose processes have the mark of this farm in their environment."""
        marked = [{**each, "environment": {_MARK: self.mark}} for each in blocks]
        return self.farm.submit(parse_job({"job": {"name": "j", "blocks": marked}}))

    async def run(self, *blocks: dict[str, object]) -> JobView:
        """Submit a job and wait for its end."""
        return await self.farm.wait(self.submit(*blocks))

    async def until(self, job: int, state: str, task: int = 0) -> TaskView:
        """Wait until a task of a job's first block is in a state."""
        seen = 0
        while (view := self.farm.view(job).tasks[task]).state != state:
            seen = await self.farm.changed(seen)
        return view

    async def registered(self, number: int = 1) -> None:
        """Wait until at least so many renders are online."""
        seen = 0
        while sum(render.state == "online" for render in self.farm.renders) < number:
            seen = await self.farm.changed(seen)

    async def check_alive(self) -> None:
        """Check that the agents are still online and take tasks."""
        job = await self.run(block("echo alive"))
        assert [(task.state, task.output) for task in job.tasks] == [("done", "alive\n")]
        assert [render.state for render in self.farm.renders] == ["online"] * len(self.agents)

    def task_processes(self) -> list[str]:
        """The living processes of tasks, in any session and below any parent."""
        return find_marked(_MARK, self.mark)


@asynccontextmanager
async def open_loopback_farm(
    folder: Path, *, settings: FarmSettings = NO_RETRIES
) -> AsyncIterator[LoopbackFarm]:
    """Open a farm and its server. At the end agents are drained, and no process may be left."""
    before = set(psutil.Process().children(recursive=True))
    with trio.fail_after(GUARD):
        async with open_farm(folder / "farm", settings=settings) as farm:
            async with trio.open_nursery() as servers, trio.open_nursery() as agents:
                server = FarmServer(farm, make_token(), servers)
                await server.open()
                loopback = LoopbackFarm(folder, farm, server, uuid.uuid4().hex, agents)
                yield loopback
                for handle in loopback.agents:
                    handle.drain("the test is over")
                for handle in loopback.agents:
                    await handle.finished()
                servers.cancel_scope.cancel()
    assert loopback.task_processes() == []
    assert set(psutil.Process().children(recursive=True)) <= before


@asynccontextmanager
async def open_agent(
    home: Path,
    server: FarmServer,
    *words: str | Path,
    name: str = "render-1",
    wrapper: Sequence[str] = (),
) -> AsyncIterator[Command]:
    """Start an agent from the command line. The caller ends it."""
    token = home / "token"
    if not token.exists():
        token.touch(mode=0o600)
        token.write_text(server.token.secret)
    given = ("--server", server.url, "--token-file", token, "--name", name, "--store", "store")
    async with open_command(*given, *words, home=home, wrapper=wrapper) as command:
        yield command


@attrs.frozen
class Gated:
    """A command that reports its start and then waits until the test releases it."""

    up: Path
    hold: Path

    @classmethod
    def make(cls, folder: Path, name: str = "") -> Gated:
        return cls(make_gate(folder / f"up{name}"), make_gate(folder / f"hold{name}"))

    def command(self, *, before: str = "true", after: str = "echo finished") -> str:
        return f"{before}; echo up > {self.up}; read x < {self.hold}; {after}"

    async def is_up(self) -> None:
        await pass_gate(self.up)

    async def release(self) -> None:
        await open_gate(self.hold)
