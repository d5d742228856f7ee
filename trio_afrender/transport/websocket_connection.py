"""One websocket past its handshake: text in, text out, and an honest end.

Either end builds on it. What trio-websocket needs from its user stands here: a nursery for its
reader task that survives that task's death, a limit on each frame, no deadline around a send
(a torn frame makes the next one a lie: a cancelled send ends the connection), pings, and a
closing handshake that cannot hang.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from trio_afrender.errors import LinkLost, ProtocolError
from trio_afrender.protocol.json_codec import MAX_FRAME
from trio_afrender.transport.liveness_stream import LivenessStream

__all__ = (
    "MAX_FRAGMENT_BACKLOG",
    "MAX_QUEUED_FRAMES",
    "RECEIVE_SIZE",
    "Connection",
    "flatten",
    "open_bare_nursery",
    "printable",
)

MAX_QUEUED_FRAMES = 2
"""Whole frames that wait in the library; beyond it reading stops, and with it answers to pings."""
RECEIVE_SIZE = 64 * 1024
MAX_FRAGMENT_BACKLOG = 8 * MAX_FRAME
"""Bytes without one whole message before a peer counts as hostile (endless tiny fragments)."""

_CLOSE_TIMEOUT = 2.0
"""Seconds for the closing handshake."""
_BINARY, _NONSENSE, _TOO_LARGE = 1003, 1007, 1009

_log = logging.getLogger(__name__)
T = TypeVar("T")


def printable(text: str, limit: int = 200) -> str:
    """A peer's text made harmless for logs and terminals."""
    return "".join(c if c.isprintable() else "?" for c in text[:limit])


def flatten(group: BaseExceptionGroup[Exception]) -> list[Exception]:
    """The exceptions in a group of groups."""
    found: list[Exception] = []
    for error in group.exceptions:
        found.extend(flatten(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found


@asynccontextmanager
async def open_bare_nursery() -> AsyncIterator[trio.Nursery]:
    """A nursery for helpers of the body: ended with it, and the body's error comes out bare."""
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            finally:
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        error = _unwrap(group)
    else:
        return
    raise error  # here, so that no group becomes its context


def _unwrap(group: BaseExceptionGroup[BaseException]) -> BaseException:
    real = [error for error in group.exceptions if not isinstance(error, trio.Cancelled)]
    if len(real) > 1:
        return group
    return real[0] if real else group.exceptions[0]


class Connection:
    """An open websocket. One task may send while another receives.

    `holding` is the scope in which the library's reader runs. It is shielded from here on, so
    that a cancelled body can still say goodbye: whoever makes a connection must close it.
    """

    def __init__(
        self,
        ws: WebSocketConnection,
        holding: trio.CancelScope,
        stream: trio.abc.Stream,
        guard: LivenessStream,
        label: str,
    ) -> None:
        holding.shield = True
        self._ws = ws
        self._holding = holding
        self._stream = stream
        self._guard = guard
        self._label = label
        self._lost = ""

    async def keep_alive(self, limit: float) -> None:
        """Ping, and end the connection once the peer has been silent for `limit` seconds."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._ping, limit / 2)
            await self._guard.wait_silent(limit)
            nursery.cancel_scope.cancel()
        if self._ws.closed is None:
            await self.abort(f"no sign of life for {limit:g} s")

    async def _ping(self, pause: float) -> None:
        while True:
            await trio.sleep(pause)
            if self._guard.quiet_for() < pause:
                continue  # messages prove as much as a pong would
            try:
                await self._ws.ping()
            except ConnectionClosed:
                return

    async def send(self, text: str) -> None:
        """Hand a frame to the connection. Raises LinkLost; cancelled, it ends the connection."""
        if self._lost:
            raise LinkLost(self._lost)
        try:
            await self._ws.send_message(text)
        except ConnectionClosed as error:
            raise self._make_lost(error) from error
        except BaseException:
            await self.abort("a frame was torn: sending it was cancelled")
            raise

    async def receive(self, decode: Callable[[str], T]) -> T:
        """The next message. Raises LinkLost, or ProtocolError having told the peer and closed."""
        try:
            frame = await self._ws.get_message()
        except ConnectionClosed as error:
            raise self._make_lost(error) from error
        self._guard.claim()
        if not isinstance(frame, str):
            await self.close(_BINARY, "text frames only")
            raise ProtocolError(f"{self._label}: a binary frame")
        try:
            return decode(frame)
        except ProtocolError as error:
            await self.close(_NONSENSE, str(error))
            raise ProtocolError(f"{self._label}: {printable(str(error), 400)}") from error

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye if there is still somebody, and close. Shielded, two seconds at most."""
        self._lost = self._lost or f"{self._label}: closed by us"
        with trio.move_on_after(_CLOSE_TIMEOUT, shield=True):
            await self._ws.aclose(code, reason or None)
        await self._close_stream()

    async def abort(self, why: str) -> None:
        """Close without a word: the stream is torn, or nobody listens."""
        self._lost = self._lost or f"{self._label}: {why}"
        await self._close_stream()

    async def _close_stream(self) -> None:
        # Not left to the library: it leaves the stream open after a frame that was too large.
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(self._stream)
        self._holding.cancel()

    def _make_lost(self, error: ConnectionClosed) -> LinkLost | ProtocolError:
        reason = error.reason
        if self._lost:
            return LinkLost(self._lost)
        if reason is None:
            return LinkLost(f"{self._label}: connection broken")
        text = printable(reason.reason or "")
        if reason.code == _TOO_LARGE and isinstance(error.__context__, trio.ClosedResourceError):
            # The library shut its own queue: it judged the peer's frame, not the peer ours.
            return ProtocolError(f"{self._label}: a frame of more than {MAX_FRAME} bytes")
        what = f"{reason.code} {reason.name}" + (f", {text}" if text else "")
        return LinkLost(f"{self._label}: connection closed ({what})")
