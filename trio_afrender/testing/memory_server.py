"""Websocket servers in memory: the real code of both ends, over memory streams.

`open_memory_server` runs a handler (a farm's ``serve_link``, or a function of a test) for each
render that connects. With `open_scripted_server` a test acts as the server, step by step::

    async def test_an_outcome_survives_a_cut_link(autojump_clock: trio.abc.Clock) -> None:
        host = MemoryHost()
        async with open_scripted_server() as server, trio.open_nursery() as nursery:
            agent = partial(run_agent, connect=server.connect, outside=host.open())
            await nursery.start(agent, Config(name="n1", server="ws://localhost"))
            render = await server.accept()
            assert (await render.welcome()).name == "n1"
            task = TaskExec(run="r1", job=1, block=0, task=0, command_block="true")
            await render.send(Events(tasks=(task,)))
            child = await host.spawn.next()
            server.cut()
            child.exit(0)
            render = await server.accept()  # the agent connects again by itself
            await render.welcome(Registered(id=1, resume=("r1",)))
            update = await render.expect(Update, lambda update: any(u.finished for u in update.tasks))
            assert update.tasks[0].status is TaskStatus.FinishedSuccess
            nursery.cancel_scope.cancel()

Everything is deterministic under ``MockClock(autojump_threshold=0)``, except for the order in which
trio runs tasks that are ready at the same time. Memory streams never block the sender: use sockets
for tests of backpressure.
"""

from __future__ import annotations

import errno
import logging
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeAlias, TypeVar

import trio
import trio.testing

from trio_afrender.async_helpers import flatten, open_bare_nursery
from trio_afrender.config.settings import Token
from trio_afrender.errors import LinkLost, ProtocolError
from trio_afrender.protocol.messages import (
    Ack,
    FromRender,
    FromServer,
    Register,
    Registered,
    Update,
)
from trio_afrender.transport.interfaces import Connect
from trio_afrender.transport.tokens import TokenTable, make_token
from trio_afrender.transport.websocket_client import open_websocket_link
from trio_afrender.transport.websocket_server import Handler, WebSocketServerLink, serve_websocket

__all__ = (
    "MemoryListener",
    "MemoryServer",
    "ScriptedLink",
    "ScriptedServer",
    "open_memory_server",
    "open_scripted_server",
)

_log = logging.getLogger(__name__)
_URL = "ws://localhost"
_EXPECT_TIMEOUT = 60.0
"""Virtual seconds that a script waits for an expected message."""

T = TypeVar("T", bound=FromRender)


_Pipe: TypeAlias = trio.StapledStream[
    trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream
]


class _Wire(trio.abc.Stream):
    """One end of a connection in memory that can be cut or made silent."""

    def __init__(self, pipe: _Pipe) -> None:
        self._pipe = pipe
        self._dead = False
        self._closed = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._closed:
            raise trio.ClosedResourceError
        if self._dead:
            await trio.lowlevel.checkpoint()
        else:
            await self._pipe.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._pipe.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._pipe.receive_some(max_bytes)

    async def aclose(self) -> None:
        self.cut()
        await trio.lowlevel.checkpoint()

    def cut(self) -> None:
        """Close at once. Data in transit is lost."""
        self._closed = True
        self._pipe.receive_stream.close()
        if not self._dead:
            self._pipe.send_stream.close()

    def fall_silent(self) -> None:
        """From now on the far end receives neither data nor a close."""
        self._dead = True


class MemoryListener(trio.abc.Listener[trio.abc.Stream]):
    """A listener whose `accept` returns the far end of each stream that `connect` returns."""

    def __init__(self) -> None:
        self.refusing = False
        self._accepted, self._incoming = trio.open_memory_channel[_Wire](math.inf)
        self._wires: list[_Wire] = []

    async def connect(self, host: str = "", port: int = 0) -> trio.abc.Stream:
        """Open a stream to the server. Raises ConnectionRefusedError while `refusing`."""
        await trio.lowlevel.checkpoint()
        if self.refusing:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "connection refused")
        near, far = (_Wire(end) for end in trio.testing.memory_stream_pair())
        self._wires += [near, far]
        self._accepted.send_nowait(far)
        return near

    async def accept(self) -> trio.abc.Stream:
        return await self._incoming.receive()

    async def aclose(self) -> None:
        self._incoming.close()
        await trio.lowlevel.checkpoint()

    def cut(self) -> None:
        """Cut all connections."""
        for wire in self._wires:
            wire.cut()
        self._wires.clear()

    def fall_silent(self) -> None:
        """Silence all connections: nothing is delivered, and neither end is notified."""
        for wire in self._wires:
            wire.fall_silent()


class MemoryServer:
    """A server to connect to. Made by `open_memory_server`."""

    def __init__(self, listener: MemoryListener, tokens: TokenTable, token: Token) -> None:
        self.token = token
        """A token that is valid for every render name."""
        self.listener = listener
        self.tokens = tokens

    @property
    def connect(self) -> Connect:
        """The `connect` argument for an agent, with a token for every name."""
        return self.connect_with(self.token)

    def connect_as(self, name: str) -> Connect:
        """The same with a token for this render name or pattern only."""
        token = make_token()
        self.tokens.add(name, token)
        return self.connect_with(token)

    def connect_with(self, token: Token | None, *, keepalive: float = 16.0) -> Connect:
        """The same with a given token, or none."""
        return partial(
            open_websocket_link,
            _URL,
            token=token,
            open_stream=self.listener.connect,
            keepalive=keepalive,
        )

    def refuse(self, refusing: bool = True) -> None:
        """Refuse connections from now on, as a port without a server does, or accept them again."""
        self.listener.refusing = refusing

    def cut(self) -> None:
        """Cut all open connections: both ends raise `LinkLost`, and data in transit is lost."""
        self.listener.cut()

    def fall_silent(self) -> None:
        """Silence all open connections, like an unplugged cable. New connections work."""
        self.listener.fall_silent()


@asynccontextmanager
async def open_memory_server(
    handler: Handler, *, tokens: TokenTable | None = None, keepalive: float = 16.0
) -> AsyncIterator[MemoryServer]:
    """Open a server in memory that runs `handler` for each render that connects.

    An error of the handler other than `LinkLost` and `ProtocolError`, such as a failed assertion,
    cancels the body and is raised here, in no group.
    """
    listener, table, token = MemoryListener(), tokens or TokenTable(), make_token()
    table.add("*", token)
    failures: list[Exception] = []

    async def run_handler(link: WebSocketServerLink) -> None:
        try:
            await handler(link)
        except* (LinkLost, ProtocolError) as group:
            _log.info("%s", flatten(group)[0])
        except* Exception as group:  # noqa: BLE001 - raised again where the test sees it
            failures.extend(flatten(group))
            nursery.cancel_scope.cancel()

    async with open_bare_nursery() as nursery:
        serve = partial(
            serve_websocket,
            run_handler,
            tokens=table,
            host="localhost",
            keepalive=keepalive,
            listeners=[listener],
        )
        await nursery.start(serve)
        yield MemoryServer(listener, table, token)
    if failures:
        raise failures[0]


class ScriptedLink:
    """The server's end of one connection, for a script. Returned by `ScriptedServer.accept`."""

    def __init__(self, link: WebSocketServerLink) -> None:
        self.link = link
        self.acking = True
        """Whether `receive` acknowledges updates."""
        self.closed: trio.Event = trio.Event()

    async def receive(self) -> FromRender:
        """Receive the next message; acknowledge it if it is an update. Raises `LinkLost`."""
        message = await self.link.receive()
        if self.acking and isinstance(message, Update):
            await self.link.send(Ack(seq=message.seq))
        return message

    async def expect(
        self,
        kind: type[T],
        where: Callable[[T], bool] | None = None,
        *,
        within: float = _EXPECT_TIMEOUT,
    ) -> T:
        """Receive the next message of this type for which `where` is true.

        Raises AssertionError for a message of another type, and after `within` seconds.
        """
        with trio.move_on_after(within):
            while True:
                message = await self.receive()
                if not isinstance(message, kind):
                    raise AssertionError(  # noqa: TRY004 - the script failed, not an argument
                        f"expected {kind.__name__}, got {message!r}"
                    )
                if where is None or where(message):
                    return message
        raise AssertionError(f"no {kind.__name__} as expected within {within:g} s")

    async def expect_silence(self, seconds: float) -> None:
        """Raise AssertionError if a message arrives within so many seconds."""
        with trio.move_on_after(seconds):
            message = await self.receive()
            raise AssertionError(f"expected silence, got {message!r}")

    async def expect_end(self, *, within: float = _EXPECT_TIMEOUT) -> None:
        """Skip messages until the render closes. Raises AssertionError after `within` seconds."""
        with trio.move_on_after(within):
            try:
                while True:
                    await self.receive()
            except LinkLost:
                return
        raise AssertionError(f"the render did not close within {within:g} s")

    async def welcome(self, answer: Registered | None = None) -> Register:
        """Expect a register and accept it; return the register."""
        register = await self.expect(Register)
        await self.send(answer or Registered(id=1))
        return register

    async def send(self, message: FromServer) -> None:
        """Send a message."""
        await self.link.send(message)

    async def send_text(self, text: str) -> None:
        """Send any text, also malformed."""
        await self.link.connection.send(text)

    async def aclose(self) -> None:
        """Close with a closing handshake."""
        await self.link.aclose()
        self.closed.set()

    async def cut(self) -> None:
        """Close without a closing handshake."""
        await self.link.connection.abort("cut by the script")
        self.closed.set()


class ScriptedServer(MemoryServer):
    """A server that a test controls step by step. Made by `open_scripted_server`."""

    def __init__(
        self, server: MemoryServer, links: trio.MemoryReceiveChannel[ScriptedLink]
    ) -> None:
        super().__init__(server.listener, server.tokens, server.token)
        self._links = links

    async def accept(self, *, within: float = _EXPECT_TIMEOUT) -> ScriptedLink:
        """Wait for the next render that connects. Raises AssertionError after `within` seconds."""
        with trio.move_on_after(within):
            return await self._links.receive()
        raise AssertionError(f"no render connected within {within:g} s")


@asynccontextmanager
async def open_scripted_server(
    *, tokens: TokenTable | None = None, keepalive: float = 16.0
) -> AsyncIterator[ScriptedServer]:
    """Open a server in memory that the test controls. Links stay open until closed or cut."""
    found, links = trio.open_memory_channel[ScriptedLink](math.inf)

    async def hand_over(link: WebSocketServerLink) -> None:
        scripted = ScriptedLink(link)
        found.send_nowait(scripted)
        await scripted.closed.wait()

    async with open_memory_server(hand_over, tokens=tokens, keepalive=keepalive) as server:
        yield ScriptedServer(server, links)
