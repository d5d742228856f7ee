"""A byte stream that detects three failures which trio-websocket does not detect, and limits bytes.

- A peer that hangs up during the handshake: the library waits for the end of the handshake anyway.
- A peer that falls silent: the library does not report it.
- Endless fragments of one message: the library collects them without a limit, however short they
  are.

All three show in the bytes between the library and the socket, and those pass through here.

The bytes that were read and not consumed are limited as well. A message is consumed when its owner
has finished with it, not when it was taken from the library: decoded messages take memory too. A
connection has at most `MAX_UNCONSUMED` such bytes, plus one message. While that message makes it
more, the connection has one of a few seats that all connections of a server share.
"""

from __future__ import annotations

import trio

from trio_afrender.transport.fair_gate import GateKey
from trio_afrender.transport.message_sizes import MessageSizes

__all__ = ("MAX_UNCONSUMED", "HandshakeAborted", "LivenessStream")

MAX_UNCONSUMED = 64 * 1024
"""Bytes that were read from a connection and not consumed, without a seat for a large message."""
MAX_SEAT_TIME = 120.0
"""Seconds in which a peer with a seat has to send the rest of its message."""
_CHUNK_SIZE = 64 * 1024
_HEAD_END = b"\r\n\r\n"


class HandshakeAborted(Exception):
    """The peer hung up before the handshake was over. Ends the library's reader task."""


class LivenessStream(trio.abc.Stream):
    """Passes bytes on and records when the peer was last active.

    The owner calls `consume()` when it has finished with a message, and `leave_seat()` in the end.
    More than `backlog` bytes of one message break the stream. Closing it closes the stream below.
    """

    def __init__(self, stream: trio.abc.Stream, *, backlog: int) -> None:
        self.opened = False
        """Set by the owner after the handshake. A hang-up is a normal end of the stream then."""
        self.seats: GateKey | None = None
        """The seats for large messages; None: there is no limit on their number."""
        self._stream = stream
        self._backlog = backlog
        self._head: bytes | None = b""
        """The last bytes of the handshake; None when it is over."""
        self._sizes = MessageSizes()
        self._consumed: trio.Event | None = None
        """Set at the next message that is consumed, while the reading waits for one."""
        self._seated_at: float | None = None
        self._active_at = trio.current_time()
        self._receiving = False
        self._sending = False

    @property
    def message_size(self) -> int:
        """The bytes on the wire of the oldest message that is not consumed."""
        return self._sizes.finished[0] if self._sizes.finished else 0

    def consume(self) -> None:
        """Record that the owner has finished with the oldest message."""
        self._sizes.consume()
        if self._seated_at is not None:
            self._seated_at = trio.current_time()
            if self._sizes.pending <= MAX_UNCONSUMED:
                self.leave_seat()
        if self._consumed is not None:
            self._consumed.set()
            self._consumed = None

    def leave_seat(self) -> None:
        """Give the seat for a large message to another connection, if this one has it."""
        if self._seated_at is not None and self.seats is not None:
            self.seats.release()
        self._seated_at = None

    def quiet_for(self) -> float:
        """Return the seconds since the peer was last active; 0 while no call waits for the peer."""
        return trio.current_time() - self._last_activity()

    async def wait_silent(self, limit: float) -> None:
        """Return once the peer has been silent for `limit` seconds."""
        # The loop sleeps until a deadline, not for the remaining seconds: a remainder that is too
        # small to change the clock's value would make it spin.
        while trio.current_time() < (deadline := self._last_activity() + limit):  # noqa: ASYNC110 - an event a chunk costs more
            await trio.sleep_until(deadline)

    def _last_activity(self) -> float:
        # The library stops reading while its queue is full. That is this end's delay, not the
        # peer's, so such time does not count
        # (test_not_receiving_does_not_make_the_peer_dead).
        waiting = self._receiving or self._sending
        return self._active_at if waiting else trio.current_time()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        # It is not the peer that is silent while this end waits to read more. With a whole message
        # here, the owner has something to consume, so the first wait ends.
        while self._sizes.finished and self._sizes.pending > MAX_UNCONSUMED:
            self._consumed = trio.Event()
            await self._consumed.wait()
        needs_seat = self._sizes.pending > MAX_UNCONSUMED and self._seated_at is None
        if needs_seat and self.seats is not None:
            await self.seats.acquire()
            self._seated_at = trio.current_time()
        self._active_at = trio.current_time()
        self._receiving = True
        try:
            if self._seated_at is None:
                data = await self._stream.receive_some(max_bytes)
            else:
                with trio.fail_at(self._seated_at + MAX_SEAT_TIME):
                    data = await self._stream.receive_some(max_bytes)
        except trio.TooSlowError as error:
            raise trio.BrokenResourceError("a large message took too long") from error
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._end_handshake(error)
            raise
        finally:
            self._receiving = False
        self._active_at = trio.current_time()
        if not data:
            self._end_handshake(None)
        self._count(data)
        if self._sizes.unfinished > self._backlog:
            raise trio.BrokenResourceError("too many bytes without a message")
        return data

    def _count(self, data: bytes | bytearray) -> None:
        if self._head is not None:
            text = self._head + data
            end = text.find(_HEAD_END)
            if end < 0:
                self._head = text[1 - len(_HEAD_END) :]
                return
            self._head, data = None, text[end + len(_HEAD_END) :]
        self._sizes.feed(data)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data` in chunks. Each chunk that the peer takes counts as activity of the peer."""
        # In one piece, a frame of 8 MiB on a slow line would count as silence
        # (test_a_large_frame_on_a_slow_line_is_not_silence).
        view = memoryview(data)
        self._sending = True
        try:
            for start in range(0, max(len(view), 1), _CHUNK_SIZE):
                if start:
                    self._active_at = trio.current_time()
                await self._stream.send_all(view[start : start + _CHUNK_SIZE])
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._end_handshake(error)
            raise
        finally:
            self._sending = False

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()
        self._end_handshake(None)

    def _end_handshake(self, error: Exception | None) -> None:
        # The exception ends the library's reader task and, with it, the wait for the handshake.
        if not self.opened:
            raise HandshakeAborted("hung up in the middle of the handshake") from error
