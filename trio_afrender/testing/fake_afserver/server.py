"""A fake Afanasy server that speaks the native protocol, in memory or on loopback.

For tests of what happens between a render and such a server, including the rules of closing and
the unexpected behaviour of the real server::

    async def test_a_task_is_done(autojump_clock: trio.abc.Clock) -> None:
        host = MemoryHost()
        config = Config(name="n1", server="af://farm")
        async with open_native_server() as server, trio.open_nursery() as nursery:
            connect = server.connect(config, host)
            agent = partial(run_agent, connect=connect, outside=host.open())
            await nursery.start(agent, config)
            task = server.add_task(TaskExec(run="", job=2, block=0, task=0, command_task="true"))
            (await host.spawn.next()).exit(0)
            await server.until(lambda: task.state is NativeState.DONE)
            assert server.complaints == []
            nursery.cancel_scope.cancel()

It hands out tasks without regard to services and capacity, four to a render. `complaints` lists what
a render must not do: hold a connection open, use it twice, send what would end the real server.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial

import attrs
import trio

from trio_afrender.agent.connect import make_native_connect
from trio_afrender.async_helpers import RepeatedEvent, open_bare_nursery
from trio_afrender.config.settings import Config
from trio_afrender.errors import ProtocolError
from trio_afrender.protocol.afanasy import (
    Json,
    Message,
    Receiver,
    RenderDeregister,
    RenderRegister,
    RenderUpdate,
    TaskUp,
    VersionMismatch,
    encode,
)
from trio_afrender.protocol.messages import TaskExec, TaskKey
from trio_afrender.testing.fake_afserver.fake_farm import FakeAfserverState
from trio_afrender.testing.fake_afserver.fake_json_api import act, answer_get, reply
from trio_afrender.testing.fake_afserver.records import NativeRender, NativeTask
from trio_afrender.testing.memory_host import MemoryHost
from trio_afrender.testing.memory_server import MemoryListener
from trio_afrender.transport.interfaces import Connect

__all__ = ("Fault", "NativeServer", "open_native_server")

_log = logging.getLogger(__name__)

SERVER_CYCLE = 1.0
"""Seconds between two cycles of the server."""
CLOSE_TIMEOUT = 10.0
"""Seconds that a render may hold a connection after its answer."""
_UNTIL_TIMEOUT = 120.0
"""Seconds that `until` waits."""


@attrs.frozen(kw_only=True)
class Fault:
    """A fault in one exchange, the first whose request `where` accepts."""

    where: Callable[[Message], bool]
    received: bool = True
    """Whether the server applies the request."""
    hang: bool = False
    """Whether the connection stays open without data, instead of being closed."""
    answer: bytes | None = None
    """What is sent instead of the answer: a part of one, or malformed data."""


class NativeServer:
    """The fake server. Made by `open_native_server`."""

    def __init__(self, listener: MemoryListener | None, port: int) -> None:
        self.book: FakeAfserverState = FakeAfserverState()
        self.listener = listener
        """In memory: `refusing` makes connects fail."""
        self.port = port
        self.version = 81
        self.received: list[tuple[float, Message]] = []
        """Each request that was received, with the time in seconds since the server began."""
        self.complaints: list[str] = []
        self.down = False
        """Whether connections are closed without an answer, as by a server that stops."""
        self._faults: list[Fault] = []
        self._changed = RepeatedEvent()
        self._cycle_over = RepeatedEvent()
        self._waiting: dict[trio.abc.Stream, trio.CancelScope] = {}
        self._zero = trio.current_time()

    # -- for tests -------------------------------------------------------------------------------

    def connect(self, config: Config, host: MemoryHost) -> Connect:
        """The `connect` argument for an agent on `host`, for a server in memory."""
        if self.listener is None:
            raise ValueError("this server is on a port: use the config's server URL")
        return make_native_connect(
            config,
            identity=host.server_identity,
            save_identity=host.save_server_identity,
            open_stream=self.listener.connect,
        )

    def add_task(self, task: TaskExec, *, retries: int = 0) -> NativeTask:
        """Add a task, which is handed out in the next cycle."""
        added = self.book.tasks[task.key] = NativeTask(exec=task, retries=retries)
        return added

    def task(self, key: TaskKey) -> NativeTask:
        return self.book.tasks[key]

    def render(self, name: str) -> NativeRender | None:
        """The render of that name, online or not; None if it never registered."""
        return next((each for each in self.book.renders.values() if each.name == name), None)

    def ups(self, key: TaskKey) -> list[tuple[float, TaskUp]]:
        """Every reported state of a task, with its time."""
        updates = [(at, each) for at, each in self.received if isinstance(each, RenderUpdate)]
        return [(at, up) for at, update in updates for up in update.taskups if up.key == key]

    def fail(self, fault: Fault) -> None:
        """Make the next exchange that `fault.where` accepts fail."""
        self._faults.append(fault)

    def clear_faults(self) -> None:
        """Drop the faults that no exchange has had yet."""
        self._faults.clear()

    def restart(self, *, keep: bool = True) -> None:
        """Restart the server, with the same store or an empty one."""
        self.book.restart(self._now(), keep=keep)
        for scope in self._waiting.values():
            scope.cancel()

    async def until(self, holds: Callable[[], bool], *, within: float = _UNTIL_TIMEOUT) -> None:
        """Wait until `holds` returns true. It is called after each message and each cycle.

        Raises AssertionError after `within` seconds.
        """
        with trio.move_on_after(within):
            while not holds():
                await self._changed.wait()
            return
        raise AssertionError(f"not as expected within {within:g} s; received: {self.received[-3:]}")

    async def online(self, name: str) -> NativeRender:
        """Wait until a render is online; return it."""

        def is_online() -> bool:
            render = self.render(name)
            return render is not None and render.online

        await self.until(is_online)
        render = self.render(name)
        assert render is not None  # noqa: S101 - it is online
        return render

    # -- the server ------------------------------------------------------------------------------

    async def run_turns(self) -> None:
        """Run a cycle each second."""
        while True:
            await trio.sleep(SERVER_CYCLE)
            if not self.down:
                self.book.turn(self._now())
            self._cycle_over.set()
            self._changed.set()

    async def handle(self, stream: trio.abc.Stream) -> None:
        """Serve one connection: one request, one answer, after which the render has to close."""
        async with stream:
            # The real server sends a space on connections whose answer has been sent: that fails
            # on closed ones.
            for answered in list(self._waiting):
                with suppress(
                    trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError
                ):
                    await answered.send_all(b" ")
            try:
                request = await self._receive(stream)
                if request is None or self.down:
                    return
                fault = next((each for each in self._faults if each.where(request)), None)
                if fault is not None:
                    self._faults.remove(fault)
                answer = None
                if fault is None or fault.received:
                    self.received.append((self._now(), request))
                    answer = await self._answer(request)
                    self._changed.set()
                if fault is not None:
                    if fault.answer:
                        await stream.send_all(fault.answer)
                    if fault.hang:
                        await stream.receive_some()  # until the render gives up
                elif answer is not None:
                    await stream.send_all(answer)
                    await self._wait_for_close(stream)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                _log.debug("a render closed its connection")

    async def _receive(self, stream: trio.abc.Stream) -> Message | None:
        receiver = Receiver()
        try:
            while data := await stream.receive_some():
                message = receiver.feed(data)
                if message is not None:
                    if receiver.surplus:
                        self.complaints.append("more than one request on a connection")
                    return message
        except ProtocolError as error:
            self.complaints.append(f"a request that would harm the server: {error}")
        return None

    async def _wait_for_close(self, stream: trio.abc.Stream) -> None:
        with trio.move_on_after(CLOSE_TIMEOUT) as scope:
            self._waiting[stream] = scope
            try:
                if await stream.receive_some():
                    self.complaints.append("a second request on a connection")
                return
            finally:
                del self._waiting[stream]
        if scope.cancelled_caught and not self.down:
            self.complaints.append("a client has not closed its connection")

    async def _answer(self, request: Message) -> bytes | None:
        now = self._now()
        if self.version != 81:
            return encode(VersionMismatch(version=self.version))
        match request:
            case RenderRegister():
                return encode(self.book.register(request, now))
            case RenderUpdate():
                return encode(self.book.update(request, now))
            case RenderDeregister(id=number):
                await self._cycle_over.wait()
                known = self.book.deregister(number)
                text = "Deregistered." if known else "No render with provided ID found."
                return encode(Json(body=reply("log" if known else "error", text), text=True))
            case Json(body=body, text=text):
                asked = json.loads(body)
                if "get" in asked:
                    body = answer_get(self.book, asked["get"])
                elif "action" in asked:
                    await self._cycle_over.wait()
                    body = act(self.book, asked["action"])
                else:
                    body = reply("error", "the fake server knows get and action only")
                return encode(Json(body=body, text=text))
        return None

    def _now(self) -> float:
        return trio.current_time() - self._zero


@asynccontextmanager
async def open_native_server(
    *, listeners: Sequence[trio.SocketListener] | None = None
) -> AsyncIterator[NativeServer]:
    """Open a fake server in memory, or on the sockets of `listeners`."""
    memory = MemoryListener()
    port = listeners[0].socket.getsockname()[1] if listeners else 0
    server = NativeServer(None if listeners else memory, port)
    async with open_bare_nursery() as nursery:
        nursery.start_soon(server.run_turns)
        served: list[trio.abc.Listener[trio.abc.Stream]] = [*(listeners or ())] or [memory]
        await nursery.start(partial(trio.serve_listeners, server.handle, served))
        yield server
