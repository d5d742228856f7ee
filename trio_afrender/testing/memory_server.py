"""Servers without sockets: the real websocket code of both ends over streams in memory.

`open_memory_server` runs a handler (a farm's ``serve_link``, or a function of a test) for each
render that connects; `open_scripted_server` lets a test play the server line by line::

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

Everything is deterministic under ``MockClock(autojump_threshold=0)``, but for the order in which
trio runs tasks that are ready at the same time. Streams in memory never push back: for tests of
backpressure use sockets.
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
from trio_afrender.transport.websocket_connection import flatten, open_bare_nursery
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
"""Virtual seconds that a script waits for what it expects."""

T = TypeVar("T", bound=FromRender)


_Pipe: TypeAlias = trio.StapledStream[
    trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream
]


class _Wire(trio.abc.Stream):
    """One end of a connection in memory that can be cut or go dead."""

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
        """Close at once; what was on the way is lost."""
        self._closed = True
        self._pipe.receive_stream.close()
        if not self._dead:
            self._pipe.send_stream.close()

    def fall_silent(self) -> None:
        """From now on the far end gets nothing of what is sent, nor of a close."""
        self._dead = True


class MemoryListener(trio.abc.Listener[trio.abc.Stream]):
    """A listener that hands out the far ends of what `connect` gives."""

    def __init__(self) -> None:
        self.refusing = False
        self._accepted, self._incoming = trio.open_memory_channel[_Wire](math.inf)
        self._wires: list[_Wire] = []

    async def connect(self, host: str = "", port: int = 0) -> trio.abc.Stream:
        """A stream to the server. Raises ConnectionRefusedError while `refusing`."""
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
        """Make all connections dead: nothing gets through, no end hears of it."""
        for wire in self._wires:
            wire.fall_silent()


class MemoryServer:
    """A server to connect to. Made by `open_memory_server`."""

    def __init__(self, listener: MemoryListener, tokens: TokenTable, token: Token) -> None:
        self.token = token
        """Opens the door under every name."""
        self.listener = listener
        self.tokens = tokens

    @property
    def connect(self) -> Connect:
        """What an agent is given to reach this server: a token for every name."""
        return self.connect_with(self.token)

    def connect_as(self, name: str) -> Connect:
        """The same with a token for this render name (or pattern) only."""
        token = make_token()
        self.tokens.add(name, token)
        return self.connect_with(token)

    def connect_with(self, token: Token | None, *, keepalive: float = 16.0) -> Connect:
        """The same with any token, or none."""
        return partial(
            open_websocket_link,
            _URL,
            token=token,
            open_stream=self.listener.connect,
            keepalive=keepalive,
        )

    def refuse(self, refusing: bool = True) -> None:
        """Let connects fail from now on as if nobody listened, or let them in again."""
        self.listener.refusing = refusing

    def cut(self) -> None:
        """Cut all open connections: both ends raise `LinkLost`, what was on the way is lost."""
        self.listener.cut()

    def fall_silent(self) -> None:
        """Make all open connections dead, as a pulled plug does. New ones work."""
        self.listener.fall_silent()


@asynccontextmanager
async def open_memory_server(
    handler: Handler, *, tokens: TokenTable | None = None, keepalive: float = 16.0
) -> AsyncIterator[MemoryServer]:
    """A server in memory that runs `handler` for each render that connects.

    An error of the handler other than `LinkLost` and `ProtocolError` (a failed assertion, say)
    ends the body and is raised here, bare.
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
    """The server's end of one connection, for a script. Made by `ScriptedServer.accept`."""

    def __init__(self, link: WebSocketServerLink) -> None:
        self.link = link
        self.acking = True
        """Whether updates are acknowledged as they are taken out."""
        self.closed = trio.Event()

    async def receive(self) -> FromRender:
        """The next message, acknowledged if it is an update. Raises `LinkLost`."""
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
        """The next message, which must be of this kind; those that `where` denies are skipped.

        Raises AssertionError for another kind, or when none came `within` so many seconds.
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
        """Raises AssertionError when a message comes within so many seconds."""
        with trio.move_on_after(seconds):
            message = await self.receive()
            raise AssertionError(f"expected silence, got {message!r}")

    async def expect_end(self, *, within: float = _EXPECT_TIMEOUT) -> None:
        """Skip messages until the render closes. Raises AssertionError when it does not."""
        with trio.move_on_after(within):
            try:
                while True:
                    await self.receive()
            except LinkLost:
                return
        raise AssertionError(f"the render did not close within {within:g} s")

    async def welcome(self, answer: Registered | None = None) -> Register:
        """Expect a register and accept it."""
        register = await self.expect(Register)
        await self.send(answer or Registered(id=1))
        return register

    async def send(self, message: FromServer) -> None:
        """Say something."""
        await self.link.send(message)

    async def send_text(self, text: str) -> None:
        """Say anything, nonsense included."""
        await self.link.connection.send(text)

    async def aclose(self) -> None:
        """Close politely."""
        await self.link.aclose()
        self.closed.set()

    async def cut(self) -> None:
        """Hang up without a word."""
        await self.link.connection.abort("cut by the script")
        self.closed.set()


class ScriptedServer(MemoryServer):
    """A server that a test plays itself. Made by `open_scripted_server`."""

    def __init__(
        self, server: MemoryServer, links: trio.MemoryReceiveChannel[ScriptedLink]
    ) -> None:
        super().__init__(server.listener, server.tokens, server.token)
        self._links = links

    async def accept(self, *, within: float = _EXPECT_TIMEOUT) -> ScriptedLink:
        """The next render that connects. Raises AssertionError when none does."""
        with trio.move_on_after(within):
            return await self._links.receive()
        raise AssertionError(f"no render connected within {within:g} s")


@asynccontextmanager
async def open_scripted_server(
    *, tokens: TokenTable | None = None, keepalive: float = 16.0
) -> AsyncIterator[ScriptedServer]:
    """A server in memory whose part the test plays; links stay open until closed or cut."""
    found, links = trio.open_memory_channel[ScriptedLink](math.inf)

    async def hand_over(link: WebSocketServerLink) -> None:
        scripted = ScriptedLink(link)
        found.send_nowait(scripted)
        await scripted.closed.wait()

    async with open_memory_server(hand_over, tokens=tokens, keepalive=keepalive) as server:
        yield ScriptedServer(server, links)
