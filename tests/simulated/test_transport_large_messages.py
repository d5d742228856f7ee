"""Seats for large messages: what connections may read ahead, in virtual time."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked
from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage

from trio_afrender.testing.memory_server import open_scripted_server
from trio_afrender.transport.fair_gate import FairGate
from trio_afrender.transport.liveness_stream import MAX_SEAT_TIME, MAX_UNCONSUMED, LivenessStream

HEAD = b"GET / HTTP/1.1\r\n\r\n"
KIB = 1024


class Peer:
    """A client that has finished its handshake, and the server's end, which is read on and on."""

    def __init__(self, seats: FairGate | None, key: str = "a") -> None:
        self.stream, far = memory_stream_pair()
        self.codec = Connection(ConnectionType.CLIENT)
        self.liveness = LivenessStream(far, backlog=2**24)
        self.liveness.opened = True
        self.liveness.seats = seats.for_key(key) if seats is not None else None
        self.head = HEAD
        self.read = -len(HEAD)
        self.broken = ""

    async def send(self, size: int, *, finished: bool = True) -> None:
        frame = self.codec.send(TextMessage(data="x" * size, message_finished=finished))
        await self.stream.send_all(self.head + frame)
        self.head = b""
        await wait_all_tasks_blocked()

    async def run(self) -> None:
        try:
            while data := await self.liveness.receive_some(16 * KIB):
                self.read += len(data)
        except trio.BrokenResourceError as error:
            self.broken = str(error)


async def test_a_message_that_is_not_consumed_stops_the_reading(autojump_clock: MockClock) -> None:
    peer = Peer(None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.run)
        await peer.send(100 * KIB)
        assert peer.read > 100 * KIB, "an unfinished message is read to its end"
        before = peer.read
        await peer.send(100 * KIB)
        assert peer.read == before
        assert peer.liveness.message_size > 100 * KIB
        await trio.sleep(1000)
        assert peer.liveness.quiet_for() == 0, "this end waits, so the peer is not silent"
        peer.liveness.consume()
        await wait_all_tasks_blocked()
        assert peer.read > before + 100 * KIB
        nursery.cancel_scope.cancel()


async def test_small_messages_are_read_ahead_up_to_a_limit(autojump_clock: MockClock) -> None:
    peer = Peer(None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.run)
        for _ in range(100):
            await peer.send(4 * KIB)
        assert MAX_UNCONSUMED < peer.read <= MAX_UNCONSUMED + 16 * KIB
        for _ in range(100):
            peer.liveness.consume()
            await wait_all_tasks_blocked()
        assert peer.read > 400 * KIB
        nursery.cancel_scope.cancel()


async def test_large_messages_wait_for_a_seat(autojump_clock: MockClock) -> None:
    """The third of two seats; and a seat is left when its message is consumed, not when it is read."""
    gate = FairGate(2)
    peers = [Peer(gate, key) for key in "abc"]
    async with trio.open_nursery() as nursery:
        for peer in peers:
            nursery.start_soon(peer.run)
        for peer in peers:
            await peer.send(1000 * KIB)
        assert [peer.read > 1000 * KIB for peer in peers] == [True, True, False]
        assert peers[2].read <= MAX_UNCONSUMED + 16 * KIB
        await trio.sleep(1000)
        assert peers[2].liveness.quiet_for() == 0
        peers[0].liveness.consume()
        await wait_all_tasks_blocked()
        assert peers[2].read > 1000 * KIB
        # A small message needs none.
        await peers[0].send(30 * KIB)
        assert peers[0].read > 1030 * KIB
        nursery.cancel_scope.cancel()


async def test_one_token_leaves_seats_to_others(autojump_clock: MockClock) -> None:
    gate = FairGate(4, 2)
    crowd, other = [Peer(gate, "crowd") for _ in range(20)], Peer(gate, "other")
    async with trio.open_nursery() as nursery:
        for peer in (*crowd, other):
            nursery.start_soon(peer.run)
        for peer in (*crowd, other):
            await peer.send(1000 * KIB)
        assert sum(peer.read > 1000 * KIB for peer in crowd) == 2
        assert sum(peer.read for peer in crowd) < 2 * 1017 * KIB + 18 * (MAX_UNCONSUMED + 16 * KIB)
        assert other.read > 1000 * KIB
        nursery.cancel_scope.cancel()


async def test_a_seat_is_not_held_for_ever(autojump_clock: MockClock) -> None:
    """A peer that sends a byte now and then is not silent, and is cut off in the end."""
    gate = FairGate(1)
    slow, next_one = Peer(gate, "a"), Peer(gate, "b")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(slow.run)
        nursery.start_soon(next_one.run)
        await slow.send(100 * KIB, finished=False)
        await next_one.send(100 * KIB)
        before = trio.current_time()
        while not slow.broken:
            await trio.sleep(5)
            await slow.send(1, finished=False)
        assert slow.broken == "a large message took too long"
        assert trio.current_time() - before == pytest.approx(MAX_SEAT_TIME, abs=6)
        slow.liveness.leave_seat()  # as the end of the connection does
        await wait_all_tasks_blocked()
        assert next_one.read > 100 * KIB
        nursery.cancel_scope.cancel()


async def test_a_connection_that_ends_leaves_its_seat(autojump_clock: MockClock) -> None:
    gate = FairGate(1)
    peer = Peer(gate)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.run)
        await peer.send(100 * KIB, finished=False)
        nursery.cancel_scope.cancel()
    peer.liveness.leave_seat()
    peer.liveness.leave_seat()
    with trio.fail_after(1):
        await gate.acquire("b")


async def test_bytes_after_the_handshake_in_one_piece_are_counted(
    autojump_clock: MockClock,
) -> None:
    peer = Peer(None)
    frame = peer.codec.send(TextMessage(data="x" * 100))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.run)
        for piece in (HEAD[:-1], b"\n" + frame):
            await peer.stream.send_all(piece)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert peer.liveness.message_size == len(frame)


async def test_a_session_consumes_by_asking_for_the_next_message(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted_server() as server, server.connect() as link:
        server_link = (await server.accept()).link
        connection = link._connection  # type: ignore[attr-defined]  # as a hostile client sends
        async with trio.open_nursery() as nursery:

            async def send(text: str) -> None:
                await connection.send(text)

            nursery.start_soon(send, '{"type":"weather","x":"' + "x" * 200_000 + '"}')
            await server_link.receive()
            size = server_link.connection.message_size
            assert 200_000 < size < 200_100
            assert server_link.connection._liveness._sizes.pending == size
            nursery.start_soon(send, '{"type":"weather"}')
            await server_link.receive()
            assert server_link.connection.message_size < 100
