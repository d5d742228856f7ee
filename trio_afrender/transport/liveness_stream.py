"""A stream that notices what the websocket library does not.

The library waits for a handshake's end even after the other side has hung up, tells nobody when
a peer falls silent, and gathers fragments of no length for ever. All of that shows in the bytes
that pass here.
"""

from __future__ import annotations

import trio

__all__ = ("HandshakeAborted", "LivenessStream")

_RECEIVE_SIZE = 64 * 1024


class HandshakeAborted(Exception):
    """The other side hung up before the handshake was over. Ends the library's reader task."""


class LivenessStream(trio.abc.Stream):
    """Passes bytes on and keeps the time of the last sign of life.

    `claim()` says that a message has been taken out; more than `backlog` bytes without one
    break the stream. Closing it closes the stream below.
    """

    def __init__(self, stream: trio.abc.Stream, *, backlog: int) -> None:
        self.opened = False
        """Set once the handshake is over: a hang-up is an ordinary end from then on."""
        self._stream = stream
        self._backlog = backlog
        self._unclaimed = 0
        self._heard = trio.current_time()
        self._listening = False
        self._sending = False

    def claim(self) -> None:
        """Say that a whole message was taken out."""
        self._unclaimed = 0

    def quiet_for(self) -> float:
        """Seconds since the last sign of life. Times in which we did not listen do not count."""
        if not self._listening and not self._sending:
            return 0.0
        return trio.current_time() - self._heard

    async def wait_silent(self, limit: float) -> None:
        """Return once nothing has been heard for `limit` seconds."""
        # By deadlines, not by what is left: a remainder too small to move the clock would spin.
        while trio.current_time() < (deadline := self._patience_ends(limit)):  # noqa: ASYNC110 - an event a chunk costs more
            await trio.sleep_until(deadline)

    def _patience_ends(self, limit: float) -> float:
        deaf = not self._listening and not self._sending
        return (trio.current_time() if deaf else self._heard) + limit

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        self._heard = trio.current_time()
        self._listening = True
        try:
            data = await self._stream.receive_some(max_bytes)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._end_handshake(error)
            raise
        finally:
            self._listening = False
        self._heard = trio.current_time()
        if not data:
            self._end_handshake(None)
        self._unclaimed += len(data)
        if self._unclaimed > self._backlog:
            raise trio.BrokenResourceError("too many bytes without a message")
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send in pieces: on a slow way a large frame is a sign of life, not a silence."""
        view = memoryview(data)
        self._sending = True
        try:
            for start in range(0, max(len(view), 1), _RECEIVE_SIZE):
                if start:
                    self._heard = trio.current_time()
                await self._stream.send_all(view[start : start + _RECEIVE_SIZE])
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
        if not self.opened:
            raise HandshakeAborted("hung up in the middle of the handshake") from error
