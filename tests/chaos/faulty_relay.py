"""A relay between agent and farm that does to their link what networks do."""

from __future__ import annotations

import random
import socket
import struct
from contextlib import suppress

import attrs
import trio

from chaos.frames import FrameCutter, is_ack

__all__ = ("FAULTS", "Relay")

FAULTS = ("cut", "stall", "half_open", "slow", "slow_reader", "refuse", "late", "twice")
RESET = struct.pack("ii", 1, 0)
PIECE = 16384


@attrs.define(eq=False)
class Relay:
    """Relays to `target`; `port` is set once `run` has started."""

    target: int
    port: int = 0
    refusing: bool = False
    delay: float = 0.0
    """Seconds before each piece that is passed on."""
    piece: int = PIECE
    """Bytes that are read at once."""
    twice: bool = False
    """Whether the farm's acknowledgements come again, later."""
    _links: set[_Link] = attrs.field(factory=set)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        # Accepted sockets inherit it: who reads slowly is to be felt at the other end.
        listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE)
        self.port = listener.socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._relay, [listener])

    def cut_all(self) -> None:
        """Reset all links there are."""
        for link in tuple(self._links):
            link.cut()

    async def hurt(self, fault: str, dice: random.Random) -> None:
        """Do one thing to all links there are; returns when the network is well again."""
        links = tuple(self._links)
        match fault:
            case "cut":
                self.cut_all()
            case "stall":
                for link in links:
                    link.hold()
                await trio.sleep(dice.uniform(0.02, 0.2))
                for link in links:
                    link.go_on()
            case "half_open":
                # One side believes in a link that the other has lost.
                for link in links:
                    link.forget_one_side()
            case "slow":
                self.delay = 0.02
                await trio.sleep(dice.uniform(0.02, 0.2))
                self.delay = 0.0
            case "slow_reader":
                self.piece, self.delay = 64, 0.001
                await trio.sleep(dice.uniform(0.02, 0.2))
                self.piece, self.delay = PIECE, 0.0
            case "refuse":
                self.refusing = True
                self.cut_all()
                await trio.sleep(dice.uniform(0.02, 0.4))
                self.refusing = False
            case "late":
                async with trio.open_nursery() as nursery:
                    for link in links:
                        pauses = dice.uniform(0.0, 0.05), dice.uniform(0.0, 0.4)
                        nursery.start_soon(link.deliver_late, *pauses)
            case "twice":
                self.twice = True
                await trio.sleep(dice.uniform(0.02, 0.2))
                self.twice = False
            case _:
                raise ValueError(fault)

    async def _relay(self, near: trio.SocketStream) -> None:
        if self.refusing:
            _reset(near)
            return
        try:
            far = await trio.open_tcp_stream("127.0.0.1", self.target)
        except OSError:
            _reset(near)
            return
        link = _Link(self, near, far)
        self._links.add(link)
        try:
            async with near, far:
                await link.run()
        finally:
            self._links.discard(link)


@attrs.define(eq=False)
class _Link:
    relay: Relay
    near: trio.SocketStream
    """The agent's end."""
    far: trio.SocketStream
    """The farm's end."""
    open: trio.Event = attrs.field(factory=trio.Event)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    kept: bytearray | None = None
    """What the agent says while it is kept back; None: it is passed on."""

    def __attrs_post_init__(self) -> None:
        self.open.set()

    async def run(self) -> None:
        with self.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._to_farm)
                nursery.start_soon(self._to_agent)

    async def _to_farm(self) -> None:
        try:
            while data := await self.near.receive_some(self.relay.piece):
                await self._pause()
                if self.kept is not None:
                    self.kept += data
                else:
                    await self.far.send_all(data)
            await self.far.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            if self.kept is None:
                self.cut()

    async def _to_agent(self) -> None:
        frames, acks = FrameCutter(), b""
        try:
            while data := await self.far.receive_some(self.relay.piece):
                for frame in frames.feed(data):
                    await self._pause()
                    await self.near.send_all(frame + (acks if self.relay.twice else b""))
                    acks = frame if is_ack(frame) else acks
            await self.near.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            if self.kept is None:
                self.cut()

    async def _pause(self) -> None:
        await self.open.wait()
        if self.relay.delay:
            await trio.sleep(self.relay.delay)

    def cut(self) -> None:
        self.scope.cancel()

    def hold(self) -> None:
        self.open = trio.Event()

    def go_on(self) -> None:
        self.open.set()

    def forget_one_side(self) -> None:
        """The farm sees the end, the agent nothing: its side stays open and silent."""
        self.hold()
        with suppress(OSError):  # it may just have been closed
            self.far.socket.shutdown(socket.SHUT_RDWR)

    async def deliver_late(self, keep: float, wait: float) -> None:
        """What the agent says in `keep` seconds comes `wait` seconds after its link is gone: it
        may have come back and said it again by then."""
        self.kept = bytearray()
        await trio.sleep(keep)
        await self.near.aclose()
        await trio.sleep(wait)
        # The farm may have closed the old link first.
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.far.send_all(bytes(self.kept))
        self.cut()


def _reset(stream: trio.SocketStream) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    stream.socket.close()
