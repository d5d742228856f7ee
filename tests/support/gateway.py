"""Agents in virtual time, a gateway in memory, and the double of an Afanasy server behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import trio

from support.agent_on_afserver import make_task
from trio_afrender import AgentHandle, Config, Timing, run_agent
from trio_afrender.config import Token
from trio_afrender.gateway import Gateway, GatewayConfig, run_gateway
from trio_afrender.gateway.identity_store import MemoryIdentityStore
from trio_afrender.gateway.settings import ListenAddress
from trio_afrender.protocol.messages import Register, Registered, TaskKey
from trio_afrender.testing import (
    FakeChild,
    MemoryHost,
    NativeRender,
    NativeServer,
    NativeTask,
    open_native_server,
)
from trio_afrender.testing.memory_server import MemoryListener
from trio_afrender.transport.address import NativeAddress
from trio_afrender.transport.interfaces import Connect
from trio_afrender.transport.tokens import TokenTable, make_token
from trio_afrender.transport.websocket_client import open_websocket_link

TIMING = Timing(heartbeat=1.0)


class CountedStream(trio.abc.Stream):
    """A stream that the stage counts as long as it is open."""

    def __init__(self, stream: trio.abc.Stream, stage: GatewayStage) -> None:
        self._stream, self._stage, self._open = stream, stage, True
        stage.at_once += 1
        stage.most_at_once = max(stage.most_at_once, stage.at_once)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        self._stage.at_once -= self._open
        self._open = False
        await self._stream.aclose()


@attrs.define(eq=False)
class GatewayStage:
    """A gateway that can be killed and started again, and what stands on its two sides."""

    server: NativeServer
    nursery: trio.Nursery
    config: GatewayConfig
    identities: MemoryIdentityStore = attrs.field(factory=MemoryIdentityStore)
    token: Token = attrs.field(factory=make_token)
    listener: MemoryListener = attrs.field(factory=MemoryListener)
    gateway: Gateway | None = None
    agents: dict[str, AgentHandle] = attrs.field(factory=dict)
    hosts: dict[str, MemoryHost] = attrs.field(factory=dict)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    over: trio.Event = attrs.field(factory=trio.Event)
    delay: float = 0.0
    """Seconds that each exchange with the server takes."""
    at_once: int = 0
    """Exchanges under way."""
    most_at_once: int = 0

    # -- the gateway ----------------------------------------------------------------------------

    async def start(self) -> Gateway:
        """Start a gateway at the old place, with what the one before it kept."""
        self.listener = MemoryListener()
        self._scope = trio.CancelScope()
        self.over = trio.Event()
        gateway: Gateway = await self.nursery.start(self._run)
        self.gateway = gateway
        return gateway

    async def _run(self, *, task_status: trio.TaskStatus[Gateway]) -> None:
        with self._scope:
            await run_gateway(
                self.config,
                identities=self.identities,
                open_stream=self._dial_server,
                listeners=[self.listener],
                task_status=task_status,
            )
        self.over.set()

    async def kill(self) -> None:
        """End it as `kill -9` would: connections break, nothing is said."""
        self.listener.cut()
        self.listener.refusing = True
        self._scope.cancel()
        await self.over.wait()

    async def _dial_server(self, host: str, port: int) -> trio.abc.Stream:
        assert self.server.listener is not None
        stream = CountedStream(await self.server.listener.connect(host, port), self)
        await trio.sleep(self.delay)
        return stream

    @property
    def counters(self) -> dict[str, float]:
        assert self.gateway is not None
        return attrs.asdict(self.gateway.counters)

    # -- websockets -----------------------------------------------------------------------------

    def refuse_agents(self, refusing: bool = True) -> None:
        """Cut all websockets and let no new one in, or let them in again."""
        self.listener.refusing = refusing
        if refusing:
            self.listener.cut()

    def fall_silent_to_agents(self) -> None:
        """Let nothing reach the agents; what they say still arrives."""
        for wire in self.listener._wires[1::2]:
            wire.fall_silent()

    def cut_the_agents_end(self) -> None:
        """Cut websockets where the agents are; the gateway does not hear of it."""
        for wire in self.listener._wires[::2]:
            wire.fall_silent()
            wire.cut()

    # -- agents ---------------------------------------------------------------------------------

    def connect(self, token: Token | None = None) -> Connect:
        return partial(
            open_websocket_link,
            "ws://localhost",
            token=token or self.token,
            open_stream=self._dial,
        )

    async def _dial(self, host: str = "", port: int = 0) -> trio.abc.Stream:
        return await self.listener.connect(host, port)

    async def add_agent(
        self,
        name: str = "n1",
        *,
        host: MemoryHost | None = None,
        nursery: trio.Nursery | None = None,
        **settings: Any,  # noqa: ANN401 - fields of Config
    ) -> MemoryHost:
        """Start an agent; return the host it runs on."""
        host = host or MemoryHost()
        config = attrs.evolve(
            Config(name=name, server="ws://localhost", user_name="ann", timing=TIMING),
            **settings,
        )
        agent = await (nursery or self.nursery).start(
            partial(run_agent, config, connect=self.connect(), outside=host.open())
        )
        self.agents.setdefault(name, agent)
        self.hosts.setdefault(name, host)
        return host

    async def add_native_agent(self, name: str) -> MemoryHost:
        """Start an agent that speaks to the server itself."""
        host = self.hosts[name] = MemoryHost()
        config = Config(name=name, server="af://farm", user_name="ann", timing=TIMING)
        connect = self.server.connect(config, host)
        self.agents[name] = await self.nursery.start(
            partial(run_agent, config, connect=connect, outside=host.open())
        )
        return host

    async def register_by_hand(self, name: str) -> tuple[Registered, NativeRender]:
        """Register as an agent would and hang up."""
        async with self.connect()() as link:
            answer = await link.register(Register(name=name))
        assert isinstance(answer, Registered)
        return answer, await self.server.online(name)

    async def begin(self, number: int = 0, name: str = "n1") -> tuple[NativeTask, FakeChild]:
        """Have the server hand out a task, and wait until it runs and is said to."""
        task = self.server.add_task(make_task(number))
        child = await self.hosts[name].spawn.next()
        await self.server.until(lambda: any(up.status == 3 for _, up in self.server.ups(task.key)))
        return task, child

    def statuses(self, key: TaskKey) -> list[int]:
        """What was said of a task, one after the other, repetitions left out."""
        said = [up.status for _, up in self.server.ups(key)]
        return [status for at, status in enumerate(said) if at == 0 or said[at - 1] != status]


@asynccontextmanager
async def open_gateway_stage(
    *,
    agent: bool = True,
    **config: Any,  # noqa: ANN401 - fields of GatewayConfig
) -> AsyncIterator[GatewayStage]:
    """A gateway with one agent `n1` unless not wanted; leaving kills everything."""
    token, tokens = make_token(), TokenTable()
    tokens.add("*", token)
    settings = attrs.evolve(
        GatewayConfig(
            listen=ListenAddress(host="localhost", port=0),
            server=NativeAddress(host="farm", port=51000),
            tokens=tokens,
            timing=TIMING,
        ),
        **config,
    )
    async with open_native_server() as server, trio.open_nursery() as nursery:
        stage = GatewayStage(server, nursery, settings, token=token)
        await stage.start()
        if agent:
            await stage.add_agent()
            await server.online("n1")
        yield stage
        assert server.complaints == []
        nursery.cancel_scope.cancel()
