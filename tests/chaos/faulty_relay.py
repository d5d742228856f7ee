"""A relay between agent and farm that injects faults of networks into their links."""

from __future__ import annotations

import random
import socket
import struct
from contextlib import suppress

import attrs
import trio

from chaos.frames import FrameCutter, is_ack

__all__ = ("LINK_FAULTS", "FaultyRelay")

LINK_FAULTS = ("cut", "stall", "half_open", "slow", "slow_reader", "refuse", "late", "twice")
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with 0 s: closing the socket sends a reset."""
PIECE = 16384
"""Bytes of a read."""


@attrs.define(eq=False)
class FaultyRelay:
    """Relays to the port `target`; `port` is set once `run` has started."""

    target: int
    port: int = 0
    is_refusing: bool = False
    delay: float = 0.0
    """Seconds before each piece that is relayed."""
    piece: int = PIECE
    repeats_acks: bool = False
    """Whether each acknowledgement of the farm is sent again after a later frame."""
    _links: set[_Link] = attrs.field(factory=set)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        # Accepted sockets inherit the small buffer: a slow reader must block the other end.
        listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE)
        self.port = listener.socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._relay, [listener])

    def cut_all(self) -> None:
        """Reset all links."""
        for link in tuple(self._links):
            link.cut()

    async def inject(self, fault: str, rng: random.Random) -> None:
        """Inject one of `LINK_FAULTS` into all links; return when the fault is over."""
        match fault:
            case "cut":
                self.cut_all()
            case "half_open":
                for link in tuple(self._links):
                    link.close_far_side()
            case "late":
                await self._deliver_late(rng)
            case "stall":
                await self._stall(rng)
            case "slow" | "slow_reader" | "refuse" | "twice":
                await self._degrade(fault, rng)
            case _:
                raise ValueError(fault)

    async def _stall(self, rng: random.Random) -> None:
        links = tuple(self._links)
        for link in links:
            link.stall()
        await trio.sleep(rng.uniform(0.02, 0.2))
        for link in links:
            link.resume()

    async def _deliver_late(self, rng: random.Random) -> None:
        async with trio.open_nursery() as nursery:
            for link in tuple(self._links):
                pauses = rng.uniform(0.0, 0.05), rng.uniform(0.0, 0.4)
                nursery.start_soon(link.deliver_late, *pauses)

    async def _degrade(self, fault: str, rng: random.Random) -> None:
        """Relay badly for a while, new links included."""
        self.delay = {"slow": 0.02, "slow_reader": 0.001}.get(fault, 0.0)
        self.piece = 64 if fault == "slow_reader" else PIECE
        self.repeats_acks = fault == "twice"
        self.is_refusing = fault == "refuse"
        if self.is_refusing:
            self.cut_all()
        await trio.sleep(rng.uniform(0.02, 0.4 if self.is_refusing else 0.2))
        self.piece, self.delay = PIECE, 0.0
        self.is_refusing = self.repeats_acks = False

    async def _relay(self, near: trio.SocketStream) -> None:
        if self.is_refusing:
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
    relay: FaultyRelay
    near: trio.SocketStream
    """The agent's end."""
    far: trio.SocketStream
    """The farm's end."""
    open: trio.Event = attrs.field(factory=trio.Event)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    withheld: bytearray | None = None
    """What the agent has sent since its data are withheld; None: data are relayed."""

    def __attrs_post_init__(self) -> None:
        self.open.set()

    async def run(self) -> None:
        with self.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._relay_to_farm)
                nursery.start_soon(self._relay_to_agent)

    async def _relay_to_farm(self) -> None:
        try:
            while data := await self.near.receive_some(self.relay.piece):
                await self._pause()
                if self.withheld is not None:
                    self.withheld += data
                else:
                    await self.far.send_all(data)
            await self.far.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            if self.withheld is None:
                self.cut()

    async def _relay_to_agent(self) -> None:
        frames, acks = FrameCutter(), b""
        try:
            while data := await self.far.receive_some(self.relay.piece):
                for frame in frames.feed(data):
                    await self._pause()
                    await self.near.send_all(frame + (acks if self.relay.repeats_acks else b""))
                    acks = frame if is_ack(frame) else acks
            await self.near.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            if self.withheld is None:
                self.cut()

    async def _pause(self) -> None:
        await self.open.wait()
        if self.relay.delay:
            await trio.sleep(self.relay.delay)

    def cut(self) -> None:
        self.scope.cancel()

    def stall(self) -> None:
        self.open = trio.Event()

    def resume(self) -> None:
        self.open.set()

    def close_far_side(self) -> None:
        """Close the farm's end; the agent's end stays open and gets no data any more."""
        self.stall()
        with suppress(OSError):  # it may just have been closed
            self.far.socket.shutdown(socket.SHUT_RDWR)

    async def deliver_late(self, withhold: float, delay: float) -> None:
        """Withhold the agent's data for `withhold` seconds, close its end, and send the data to the
        farm `delay` seconds later: the agent may have reconnected and sent them again by then."""
        self.withheld = bytearray()
        await trio.sleep(withhold)
        await self.near.aclose()
        await trio.sleep(delay)
        # The farm may have closed the old link first.
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.far.send_all(bytes(self.withheld))
        self.cut()


def _reset(stream: trio.SocketStream) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    stream.socket.close()
