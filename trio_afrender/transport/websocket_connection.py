"""A websocket after its handshake, for both ends: send and receive text, detect a dead peer, close.

trio-websocket leaves these things to its user, and they are done here:

- Its reader task needs a nursery, and an exception of that task must only end this connection.
- A send that is cancelled half way leaves a torn frame. The next send would report success while
  the peer closes with 1007, so a cancelled send closes the connection. For the same reason there
  is no deadline around a send.
- A peer that is gone without a close is noticed by pings alone.
- A closing handshake has no time limit of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from trio_afrender.errors import LinkLost, ProtocolError
from trio_afrender.protocol.json_codec import MAX_FRAME
from trio_afrender.text import printable
from trio_afrender.transport.decoding_budget import DecodingBudget
from trio_afrender.transport.liveness_stream import LivenessStream

__all__ = (
    "MAX_FRAGMENT_BACKLOG",
    "MAX_QUEUED_FRAMES",
    "RECEIVE_SIZE",
    "Connection",
)

MAX_QUEUED_FRAMES = 2
"""Whole frames that the library queues; while the queue is full it reads nothing and answers no
pings."""
RECEIVE_SIZE = 64 * 1024
MAX_FRAGMENT_BACKLOG = 2 * MAX_FRAME
"""Bytes of one message, headers included, after which the connection is broken (endless fragments)."""

_CLOSE_TIMEOUT = 2.0
"""Seconds for the closing handshake."""
_QUICK = 4096
"""Characters of a frame that is decoded without a look at the budget, in less than a millisecond."""
_UNSUPPORTED_DATA, _INVALID_DATA, _TOO_LARGE = 1003, 1007, 1009

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Connection:
    """An open websocket. One task may send while another receives.

    `reader_scope` is the scope in which the library's reader task runs. The owner of a connection
    must close it. Without a `budget` frames are decoded at once.
    """

    def __init__(
        self,
        ws: WebSocketConnection,
        reader_scope: trio.CancelScope,
        stream: trio.abc.Stream,
        liveness: LivenessStream,
        label: str,
        budget: DecodingBudget | None = None,
    ) -> None:
        # The closing handshake needs the reader task, also when the body has been cancelled
        # (test_leaving_a_cancelled_body_sends_a_close).
        reader_scope.shield = True
        self._ws = ws
        self._reader_scope = reader_scope
        self._stream = stream
        self._liveness = liveness
        self._label = label
        self._budget = budget
        self._lost = ""
        self._handling = False
        """Whether a message was returned by `receive` and counts as not consumed."""

    @property
    def message_size(self) -> int:
        """The bytes on the wire of the message that `receive` has returned last."""
        return self._liveness.message_size

    async def keep_alive(self, limit: float) -> None:
        """Send pings, and abort the connection once the peer has been silent for `limit` seconds."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_pings, limit / 2)
            await self._liveness.wait_silent(limit)
            nursery.cancel_scope.cancel()
        if self._ws.closed is None:
            await self.abort(f"no sign of life for {limit:g} s")

    async def _send_pings(self, interval: float) -> None:
        while True:
            await trio.sleep(interval)
            if self._liveness.quiet_for() < interval:
                continue  # A message proves as much as a pong.
            try:
                await self._ws.ping()
            except ConnectionClosed:
                return

    async def send(self, text: str) -> None:
        """Send one frame. Raises `LinkLost`. If the call is cancelled, the connection is aborted."""
        if self._lost:
            raise LinkLost(self._lost)
        try:
            await self._ws.send_message(text)
        except ConnectionClosed as error:
            raise self._make_lost(error) from error
        except BaseException:
            # Part of the frame may be sent, so no other frame can follow
            # (test_a_cancelled_send_closes_the_connection).
            await self.abort("sending was cancelled, which may leave a torn frame")
            raise

    def leave_seat(self) -> None:
        """Give the seat of a large message back before the next `receive`."""
        self._liveness.leave_seat()

    async def receive(self, decode: Callable[[str], T]) -> T:
        """Return the next message. A call means that the owner has finished with the one before.

        Raises `LinkLost`. For a frame that `decode` rejects it closes the connection with the
        reason and raises `ProtocolError`.
        """
        if self._handling:
            self._handling = False
            self._liveness.consume()
        try:
            frame = await self._ws.get_message()
        except ConnectionClosed as error:
            raise self._make_lost(error) from error
        self._handling = True
        if not isinstance(frame, str):
            await self.close(_UNSUPPORTED_DATA, "text frames only")
            raise ProtocolError(f"{self._label}: a binary frame")
        try:
            if self._budget is None or len(frame) < _QUICK:
                return decode(frame)
            return await self._budget.decode(decode, frame)
        except ProtocolError as error:
            await self.close(_INVALID_DATA, str(error))
            raise ProtocolError(f"{self._label}: {printable(str(error), 400)}") from error

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close with the closing handshake. Shielded, takes at most `_CLOSE_TIMEOUT`."""
        self._lost = self._lost or f"{self._label}: closed by this end"
        with trio.move_on_after(_CLOSE_TIMEOUT, shield=True):
            await self._ws.aclose(code, reason or None)
        await self._close_stream()

    async def abort(self, why: str) -> None:
        """Close without a closing handshake, because the stream is torn or the peer is gone."""
        self._lost = self._lost or f"{self._label}: {why}"
        await self._close_stream()

    async def _close_stream(self) -> None:
        # The library closes the stream itself, except after a frame that was too large.
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(self._stream)
        self._reader_scope.cancel()

    def _make_lost(self, error: ConnectionClosed) -> LinkLost | ProtocolError:
        reason = error.reason
        if self._lost:
            return LinkLost(self._lost)
        if reason is None:
            return LinkLost(f"{self._label}: connection broken")
        text = printable(reason.reason or "")
        if reason.code == _TOO_LARGE and isinstance(error.__context__, trio.ClosedResourceError):
            # 1009 stands for two things. The library closed its own queue, so the frame came from
            # the peer; without that context the peer rejected a frame from here.
            return ProtocolError(f"{self._label}: a frame of more than {MAX_FRAME} bytes")
        what = f"{reason.code} {reason.name}" + (f", {text}" if text else "")
        return LinkLost(f"{self._label}: connection closed ({what})")
