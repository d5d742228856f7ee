"""A byte stream that detects three failures which trio-websocket does not detect.

- A peer that hangs up during the handshake: the library waits for the end of the handshake anyway.
- A peer that falls silent: the library does not report it.
- Endless fragments of one message: the library collects them without a limit, however short they
  are.

All three show in the bytes between the library and the socket, and those pass through here.
"""

from __future__ import annotations

import trio

__all__ = ("HandshakeAborted", "LivenessStream")

_CHUNK_SIZE = 64 * 1024


class HandshakeAborted(Exception):
    """The peer hung up before the handshake was over. Ends the library's reader task."""


class LivenessStream(trio.abc.Stream):
    """Passes bytes on and records when the peer was last active.

    The owner calls `claim()` for each whole message that it takes from the library; more than
    `backlog` bytes without such a call break the stream. Closing it closes the stream below.
    """

    def __init__(self, stream: trio.abc.Stream, *, backlog: int) -> None:
        self.opened = False
        """Set by the owner after the handshake. A hang-up is a normal end of the stream then."""
        self._stream = stream
        self._backlog = backlog
        self._unclaimed = 0
        self._active_at = trio.current_time()
        self._receiving = False
        self._sending = False

    def claim(self) -> None:
        """Record that a whole message was taken from the library."""
        self._unclaimed = 0

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
        self._active_at = trio.current_time()
        self._receiving = True
        try:
            data = await self._stream.receive_some(max_bytes)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._end_handshake(error)
            raise
        finally:
            self._receiving = False
        self._active_at = trio.current_time()
        if not data:
            self._end_handshake(None)
        self._unclaimed += len(data)
        if self._unclaimed > self._backlog:
            raise trio.BrokenResourceError("too many bytes without a message")
        return data

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
