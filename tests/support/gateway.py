"""Agents in virtual time, a gateway in memory, and a fake Afanasy server behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import groupby
from typing import Any

import attrs
import trio

from support.agent_on_afserver import make_task
from trio_afrender import AgentHandle, Config, Timing, run_agent
from trio_afrender.config import Token
from trio_afrender.gateway import Gateway, GatewayConfig, run_gateway
from trio_afrender.gateway.identity_store import MemoryIdentityStore
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
from trio_afrender.transport.listen_address import ListenAddress
from trio_afrender.transport.tokens import TokenTable, make_token
from trio_afrender.transport.websocket_client import open_websocket_link

TIMING = Timing(heartbeat=1.0)


class CountedStream(trio.abc.Stream):
    """A stream that its harness counts while it is open."""

    def __init__(self, stream: trio.abc.Stream, harness: GatewayHarness) -> None:
        self._stream, self._harness, self._open = stream, harness, True
        harness.at_once += 1
        harness.most_at_once = max(harness.most_at_once, harness.at_once)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        self._harness.at_once -= self._open
        self._open = False
        await self._stream.aclose()


@attrs.define(eq=False)
class GatewayHarness:
    """A gateway that can be killed and started again, with its server and its agents."""

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
    """Exchanges in progress."""
    most_at_once: int = 0

    # -- the gateway ----------------------------------------------------------------------------

    async def start(self) -> Gateway:
        """Start a gateway with the stored identities of the one before."""
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
        """End the gateway like `kill -9`: connections are cut, no message is sent."""
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
        """Cut all websockets and refuse new ones, or accept them again."""
        self.listener.refusing = refusing
        if refusing:
            self.listener.cut()

    def silence_towards_agents(self) -> None:
        """Lose everything that is sent to the agents; their messages still arrive."""
        for wire in self.listener._wires[1::2]:
            wire.fall_silent()

    def cut_at_agents(self) -> None:
        """Cut websockets at the agents, without a sign at the gateway."""
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
        """Start an agent; return its host."""
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
        """Start an agent that is connected to the server directly."""
        host = self.hosts[name] = MemoryHost()
        config = Config(name=name, server="af://farm", user_name="ann", timing=TIMING)
        connect = self.server.connect(config, host)
        self.agents[name] = await self.nursery.start(
            partial(run_agent, config, connect=connect, outside=host.open())
        )
        return host

    async def register_once(self, name: str) -> tuple[Registered, NativeRender]:
        """Register a render and close the websocket."""
        async with self.connect()() as link:
            answer = await link.register(Register(name=name))
        assert isinstance(answer, Registered)
        return answer, await self.server.online(name)

    async def begin(self, number: int = 0, name: str = "n1") -> tuple[NativeTask, FakeChild]:
        """Have the server hand out a task, and wait until it has started and is reported."""
        task = self.server.add_task(make_task(number))
        child = await self.hosts[name].spawn.next()
        await self.server.until(lambda: any(up.status == 3 for _, up in self.server.ups(task.key)))
        return task, child

    def statuses(self, key: TaskKey) -> list[int]:
        """The reported states of a task in order, without repetitions."""
        reported = [up.status for _, up in self.server.ups(key)]
        return [status for status, _ in groupby(reported)]


@asynccontextmanager
async def open_gateway_harness(
    *,
    agent: bool = True,
    **config: Any,  # noqa: ANN401 - fields of GatewayConfig
) -> AsyncIterator[GatewayHarness]:
    """Open a gateway, with an agent `n1` if wanted. Leaving ends everything like `kill -9`."""
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
        harness = GatewayHarness(server, nursery, settings, token=token)
        await harness.start()
        if agent:
            await harness.add_agent()
            await server.online("n1")
        yield harness
        assert server.complaints == []
        nursery.cancel_scope.cancel()
