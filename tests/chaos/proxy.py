"""A relay between agent and farm that does to their link what networks do."""

from __future__ import annotations

import random
import socket

import attrs
import trio

__all__ = ("FAULTS", "Proxy")

FAULTS = ("cut", "stall", "half_open", "slow", "refuse")


@attrs.define(eq=False)
class Proxy:
    """Relays to `target`; `port` is set once `run` has started."""

    target: int
    port: int = 0
    refusing: bool = False
    delay: float = 0.0
    """Seconds before each piece that is passed on."""
    _links: set[_Link] = attrs.field(factory=set)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._relay, [listener])

    async def hurt(self, fault: str, dice: random.Random) -> None:
        """Do one thing to all links there are; returns when the network is well again."""
        match fault:
            case "cut":
                for link in tuple(self._links):
                    link.cut()
            case "stall":
                for link in tuple(self._links):
                    link.hold()
                await trio.sleep(dice.uniform(0.1, 1.0))
                for link in tuple(self._links):
                    link.go_on()
            case "half_open":
                # One side believes in a link that the other has lost.
                for link in tuple(self._links):
                    link.forget_one_side()
            case "slow":
                self.delay = 0.05
                await trio.sleep(dice.uniform(0.2, 1.0))
                self.delay = 0.0
            case "refuse":
                self.refusing = True
                for link in tuple(self._links):
                    link.cut()
                await trio.sleep(dice.uniform(0.1, 1.0))
                self.refusing = False

    async def _relay(self, near: trio.SocketStream) -> None:
        if self.refusing:
            _reset(near)
            return
        try:
            far = await trio.open_tcp_stream("127.0.0.1", self.target)
        except OSError:
            _reset(near)
            return
        link = _Link(near, far)
        self._links.add(link)
        try:
            async with near, far, trio.open_nursery() as nursery:
                link.scope = nursery.cancel_scope
                nursery.start_soon(self._pass_on, near, far, link)
                nursery.start_soon(self._pass_on, far, near, link)
        finally:
            self._links.discard(link)

    async def _pass_on(
        self, source: trio.SocketStream, sink: trio.SocketStream, link: _Link
    ) -> None:
        try:
            while data := await source.receive_some(16384):
                await link.open.wait()
                if self.delay:
                    await trio.sleep(self.delay)
                await sink.send_all(data)
            await sink.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            link.cut()


@attrs.define(eq=False)
class _Link:
    near: trio.SocketStream
    far: trio.SocketStream
    open: trio.Event = attrs.field(factory=trio.Event)
    scope: trio.CancelScope | None = None

    def __attrs_post_init__(self) -> None:
        self.open.set()

    def cut(self) -> None:
        if self.scope is not None:
            self.scope.cancel()

    def hold(self) -> None:
        self.open = trio.Event()

    def go_on(self) -> None:
        self.open.set()

    def forget_one_side(self) -> None:
        """The farm sees the end, the agent nothing: its side stays open and silent."""
        self.hold()
        self.far.socket.shutdown(socket.SHUT_RDWR)


def _reset(stream: trio.SocketStream) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    stream.socket.close()
