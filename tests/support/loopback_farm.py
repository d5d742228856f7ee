"""A real farm and real agents on loopback in one trio run, for tests of what goes wrong.

What every such test wants to know besides its own matter: the tasks beside the bad one are done,
the agent is still there and of use, and no process is left.
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
from trio_afrender import Config, run_agent
from trio_afrender.agent.agent import AgentHandle
from trio_afrender.config import Timing, Token
from trio_afrender.farm.farm import Farm, FarmSettings, open_farm
from trio_afrender.jobs.job_file import parse_job
from trio_afrender.jobs.views import JobView, TaskView
from trio_afrender.transport.tokens import TokenTable, make_token
from trio_afrender.transport.websocket_server import BoundAddress, Handler, serve_websocket

__all__ = (
    "HASTY",
    "Gated",
    "Server",
    "Stage",
    "block",
    "open_agent",
    "open_stage",
    "stored",
    "told",
)

HASTY = Timing(grace=0.5, drain=0.2, heartbeat=0.2)
"""Waits that end nothing early on a busy machine, and hold nothing up either."""
ONCE = FarmSettings(errors_retries=0, pause=0.05)
_MARK = "BAD_STAGE_MARK"


def block(*commands: str, name: str = "b", **fields: object) -> dict[str, object]:
    """A block of a job: a task a command, several at once on one agent."""
    tasks = [{"name": f"t{i}", "command": command} for i, command in enumerate(commands)]
    return {"name": name, "service": "generic", "capacity": 100, "tasks": tasks, **fields}


def told(task: TaskView) -> str:
    """The chain of why of a task: what people read."""
    return "\n".join(step.text for step in task.why)


def stored(farm_folder: Path, task: TaskView) -> bytes:
    """The output of a task's last attempt, as the farm's disk has it."""
    place = farm_folder / str(task.job) / f"{task.block}.{task.task}"
    return (place / f"output.{task.attempts}.txt").read_bytes()


@attrs.define(eq=False)
class Server:
    """The farm's door: it can be shut and opened again, on the same port."""

    farm: Farm
    token: Token
    _nursery: trio.Nursery
    port: int = 0
    ssl_context: ssl.SSLContext | None = None
    """Changed while it is shut, it counts from the next opening on."""
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _shut: trio.Event = attrs.field(factory=trio.Event)

    @property
    def url(self) -> str:
        return f"{'wss' if self.ssl_context else 'ws'}://127.0.0.1:{self.port}"

    async def open(
        self, handler: Handler | None = None, *, tokens: TokenTable | None = None
    ) -> None:
        """Let agents in. Without a `handler` the farm serves them."""
        self._scope, self._shut = trio.CancelScope(), trio.Event()
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
        self._shut.set()

    async def shut(self) -> None:
        """Cut all links, and listen no more."""
        self._scope.cancel()
        await self._shut.wait()


@attrs.define(eq=False)
class Stage:
    """A farm on disk, its server, and agents that are started in this process."""

    folder: Path
    farm: Farm
    server: Server
    mark: str
    _nursery: trio.Nursery
    agents: list[AgentHandle] = attrs.field(factory=list)

    async def agent(self, name: str = "render-1", **settings: object) -> AgentHandle:
        """Start an agent; it is drained when the stage is left."""
        config = Config(
            name=name,
            server=self.server.url,
            token=self.server.token,
            store=self.folder / "store",
            max_tasks=10,
            timing=HASTY,
        )
        config = attrs.evolve(config, **settings)  # type: ignore[arg-type]  # any setting
        handle: AgentHandle = await self._nursery.start(run_agent, config)
        self.agents.append(handle)
        return handle

    def submit(self, *blocks: dict[str, object]) -> int:
        """Give a job to the farm; its processes bear the stage's mark."""
        marked = [{**each, "environment": {_MARK: self.mark}} for each in blocks]
        return self.farm.submit(parse_job({"job": {"name": "j", "blocks": marked}}))

    async def run(self, *blocks: dict[str, object]) -> JobView:
        """Run a job to its end."""
        return await self.farm.wait(self.submit(*blocks))

    async def until(self, job: int, state: str, task: int = 0) -> TaskView:
        """Wait until a task of a job's first block is in that state."""
        seen = 0
        while (view := self.farm.view(job).tasks[task]).state != state:
            seen = await self.farm.changed(seen)
        return view

    async def registered(self, number: int = 1) -> None:
        """Wait until so many renders are online."""
        seen = 0
        while sum(render.state == "online" for render in self.farm.renders) < number:
            seen = await self.farm.changed(seen)

    async def check_alive(self) -> None:
        """The same agents are still online, and take work."""
        job = await self.run(block("echo alive"))
        assert [(task.state, task.output) for task in job.tasks] == [("done", "alive\n")]
        assert [render.state for render in self.farm.renders] == ["online"] * len(self.agents)

    def strays(self) -> list[str]:
        """Processes of tasks that live, whatever session or parent they got away to."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(_MARK) == self.mark:
                    found.append(f"{process.pid} {process.cmdline()}")
            except psutil.Error:
                continue
        return found


@asynccontextmanager
async def open_stage(folder: Path, *, settings: FarmSettings = ONCE) -> AsyncIterator[Stage]:
    """Open farm and server; at the end agents are drained, and nothing they started may live."""
    before = set(psutil.Process().children(recursive=True))
    with trio.fail_after(GUARD):
        async with open_farm(folder / "farm", settings=settings) as farm:
            async with trio.open_nursery() as servers, trio.open_nursery() as agents:
                server = Server(farm, make_token(), servers)
                await server.open()
                stage = Stage(folder, farm, server, uuid.uuid4().hex, agents)
                yield stage
                for handle in stage.agents:
                    handle.drain("the test is over")
                for handle in stage.agents:
                    await handle.finished()
                servers.cancel_scope.cancel()
    assert stage.strays() == []
    assert set(psutil.Process().children(recursive=True)) <= before


@asynccontextmanager
async def open_agent(
    home: Path,
    server: Server,
    *words: str | Path,
    name: str = "render-1",
    wrapper: Sequence[str] = (),
) -> AsyncIterator[Command]:
    """An agent from the command line; whoever starts it ends it."""
    token = home / "token"
    if not token.exists():
        token.touch(mode=0o600)
        token.write_text(server.token.secret)
    given = ("--server", server.url, "--token-file", token, "--name", name, "--store", "store")
    async with open_command(*given, *words, home=home, wrapper=wrapper) as command:
        yield command


@attrs.frozen
class Gated:
    """A command that says when it is up, and goes on when it is let."""

    up: Path
    hold: Path

    @classmethod
    def make(cls, folder: Path, name: str = "") -> Gated:
        return cls(make_gate(folder / f"up{name}"), make_gate(folder / f"hold{name}"))

    def command(self, *, before: str = "true", after: str = "echo finished") -> str:
        return f"{before}; echo up > {self.up}; read x < {self.hold}; {after}"

    async def is_up(self) -> None:
        await pass_gate(self.up)

    async def let_go(self) -> None:
        await open_gate(self.hold)
