"""A double of an Afanasy server: it speaks the native protocol, in memory or on loopback.

It is for tests of what happens between a render and such a server, the rules of closing and the
oddities included::

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

It hands out tasks without asking for services or capacity: a render takes four. `complaints` are
what a render may not do: hold a connection open, use it twice, send what would end the server.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import attrs
import trio

from trio_afrender.agent.connect import make_native_connect
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
from trio_afrender.transport.websocket_connection import open_bare_nursery

__all__ = ("Fault", "NativeServer", "open_native_server")

_log = logging.getLogger(__name__)

SERVER_CYCLE = 1.0
"""Seconds between two turns of the server."""
CLOSE_TIMEOUT = 10.0
"""Seconds that a render may hold a connection after its answer."""
_UNTIL_TIMEOUT = 120.0
"""Seconds that `until` waits."""


@attrs.frozen(kw_only=True)
class Fault:
    """What goes wrong with one exchange that `where` picks."""

    where: Callable[[Message], bool]
    heard: bool = True
    """Whether the server takes the request."""
    hang: bool = False
    """Whether the connection stays open without a word, instead of being closed."""
    answer: bytes | None = None
    """What is sent instead of the answer: part of one, or nonsense."""


class NativeServer:
    """The double. Made by `open_native_server`."""

    def __init__(self, listener: MemoryListener | None, port: int) -> None:
        self.book = FakeAfserverState()
        self.listener = listener
        """In memory: `refusing` makes connects fail."""
        self.port = port
        self.version = 81
        self.heard: list[tuple[float, Message]] = []
        """Every request, with the time at which it came."""
        self.complaints: list[str] = []
        self.down = False
        """Whether connections are closed without a word, as by a server that stops."""
        self._faults: list[Fault] = []
        self._changed = trio.Event()
        self._turned = trio.Event()
        self._waiting: dict[trio.abc.Stream, trio.CancelScope] = {}
        self._zero = trio.current_time()

    # -- for tests -------------------------------------------------------------------------------

    def connect(self, config: Config, host: MemoryHost) -> Connect:
        """What an agent on `host` is given to reach this server in memory."""
        if self.listener is None:
            raise ValueError("this server is on a port: use the config's server URL")
        return make_native_connect(
            config,
            identity=host.remembered,
            save_identity=host.save_server_identity,
            open_stream=self.listener.connect,
        )

    def add_task(self, task: TaskExec, *, retries: int = 0) -> NativeTask:
        """A task that is handed out with the next turn."""
        added = self.book.tasks[task.key] = NativeTask(exec=task, retries=retries)
        return added

    def task(self, key: TaskKey) -> NativeTask:
        return self.book.tasks[key]

    def render(self, name: str) -> NativeRender | None:
        """The render of that name, online or not."""
        return next((each for each in self.book.renders.values() if each.name == name), None)

    def ups(self, key: TaskKey) -> list[tuple[float, TaskUp]]:
        """Everything that was said of a task, with its times."""
        updates = [(at, said) for at, said in self.heard if isinstance(said, RenderUpdate)]
        return [(at, up) for at, said in updates for up in said.taskups if up.key == key]

    def fail(self, fault: Fault) -> None:
        """Let the next exchange that the fault picks go wrong."""
        self._faults.append(fault)

    def heal(self) -> None:
        """Forget the faults that no exchange has met yet."""
        self._faults.clear()

    def restart(self, *, keep: bool = True) -> None:
        """Be another server process, with the same store or an empty one."""
        self.book.restart(self._now(), keep=keep)
        for scope in self._waiting.values():
            scope.cancel()

    async def until(self, holds: Callable[[], bool], *, within: float = _UNTIL_TIMEOUT) -> None:
        """Wait until something holds, looking after each message and each turn.

        Raises AssertionError when it does not, `within` so many seconds.
        """
        with trio.move_on_after(within):
            while not holds():
                await self._changed.wait()
            return
        raise AssertionError(f"not as expected within {within:g} s; heard: {self.heard[-3:]}")

    async def online(self, name: str) -> NativeRender:
        """Wait for a render to be online."""

        def there() -> bool:
            render = self.render(name)
            return render is not None and render.online

        await self.until(there)
        render = self.render(name)
        assert render is not None  # noqa: S101 - just seen
        return render

    # -- the server ------------------------------------------------------------------------------

    async def run_turns(self) -> None:
        """Take a turn a second."""
        while True:
            await trio.sleep(SERVER_CYCLE)
            if not self.down:
                self.book.turn(self._now())
            turned, self._turned = self._turned, trio.Event()
            turned.set()
            self._change()

    async def handle(self, stream: trio.abc.Stream) -> None:
        """Serve one connection: one request, one answer, and the render is to close."""
        async with stream:
            await self._prod()
            try:
                await self._exchange(stream)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                _log.debug("a render hung up")

    async def _exchange(self, stream: trio.abc.Stream) -> None:
        request = await self._receive(stream)
        if request is None or self.down:
            return
        fault = next((each for each in self._faults if each.where(request)), None)
        if fault is not None:
            self._faults.remove(fault)
        answer = None
        if fault is None or fault.heard:
            self.heard.append((self._now(), request))
            answer = await self._answer(request)
            self._change()
        if fault is not None:
            await self._go_wrong(stream, fault)
        elif answer is not None:
            await stream.send_all(answer)
            await self._wait_for_close(stream)

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

    async def _go_wrong(self, stream: trio.abc.Stream, fault: Fault) -> None:
        if fault.answer:
            await stream.send_all(fault.answer)
        if fault.hang:
            await stream.receive_some()  # until the render gives up

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

    async def _prod(self) -> None:
        """Look whether renders that have their answers are still there: with a space."""
        for stream in list(self._waiting):
            try:
                await stream.send_all(b" ")
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
                continue

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
                await self._turned.wait()
                known = self.book.deregister(number)
                text = "Deregistered." if known else "No render with provided ID found."
                return encode(Json(body=reply("log" if known else "error", text), text=True))
            case Json(body=body, text=text):
                return encode(Json(body=await self._answer_json(body), text=text))
        return None

    async def _answer_json(self, body: bytes) -> bytes:
        asked = json.loads(body)
        if "get" in asked:
            return answer_get(self.book, asked["get"])
        if "action" in asked:
            await self._turned.wait()
            return act(self.book, asked["action"])
        return reply("error", "the double understands get and action")

    def _now(self) -> float:
        return trio.current_time() - self._zero

    def _change(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()


@asynccontextmanager
async def open_native_server(
    *, listeners: Sequence[trio.SocketListener] | None = None
) -> AsyncIterator[NativeServer]:
    """A double in memory, or on the sockets of `listeners`."""
    memory = MemoryListener()
    port = listeners[0].socket.getsockname()[1] if listeners else 0
    server = NativeServer(None if listeners else memory, port)
    async with open_bare_nursery() as nursery:
        nursery.start_soon(server.run_turns)
        ways: list[trio.abc.Listener[trio.abc.Stream]] = [
            *(listeners or ()),
            *([] if listeners else [memory]),
        ]
        await nursery.start(partial(trio.serve_listeners, server.handle, ways))
        yield server
