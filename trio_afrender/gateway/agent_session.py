"""One websocket of an agent: what it says goes to its render, what its render says goes out.

The writer is a task of its own behind a short queue, so that an agent that does not read holds
up nobody: neither the signs of life that are given for it nor the exchanges of others.
"""

from __future__ import annotations

import logging
from typing import Protocol

import trio

from trio_afrender.errors import LinkLost, ProtocolError
from trio_afrender.gateway.counters import GatewayCounters
from trio_afrender.gateway.rate_limit import TokenBucket
from trio_afrender.protocol.messages import Deregister, FromServer, Register, Unknown, Update
from trio_afrender.transport.websocket_connection import printable
from trio_afrender.transport.websocket_server import WebSocketServerLink

__all__ = ("AgentSession", "Taker")

_log = logging.getLogger(__name__)

_MAX_QUEUE = 256
"""Messages that wait for an agent; there is one for each of its updates, of which 16 may be open."""
_CLOSE_TIMEOUT = 2.0
"""Seconds for what is queued when a session ends."""
_BURST_SECONDS = 10.0
"""Seconds' worth of messages that may come at once."""
_UNKNOWN_KINDS = 20
_OUT_OF_ORDER = 1002


class Taker(Protocol):
    """What takes an agent's messages; a `Render`."""

    async def update(self, session: AgentSession, update: Update) -> None: ...
    async def leave(self, session: AgentSession, reason: str) -> None: ...


class AgentSession:
    """One websocket, registered under `name`."""

    def __init__(
        self, ws: WebSocketServerLink, name: str, counters: GatewayCounters, *, rate: float
    ) -> None:
        self.name = name
        self._ws = ws
        self._counters = counters
        self._bucket = TokenBucket(rate, rate * _BURST_SECONDS)
        self._send, self._queue = trio.open_memory_channel[FromServer](_MAX_QUEUE)
        self._writing = trio.CancelScope()
        self._why = ""
        self._unknown: set[str] = set()
        self.over = trio.Event()
        """Nothing will be said or taken any more."""

    def __str__(self) -> str:
        return f"render {self.name!a} at {self._ws.peer!a}"

    def put(self, message: FromServer) -> None:
        """Send a message soon; a session that is over forgets it."""
        try:
            self._send.send_nowait(message)
        except trio.WouldBlock:
            self.end("this agent does not read")
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            _log.debug("%s: over, a message is left unsaid", self)

    def end(self, why: str) -> None:
        """End the session once what is queued is said; the agent is told why, and comes again."""
        if not self._why:
            self._why = why
            self._writing.deadline = trio.current_time() + _CLOSE_TIMEOUT
            self._send.close()

    async def run(self, taker: Taker) -> None:
        """Serve until the websocket is over. Raises `LinkLost` unless the agent said goodbye."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write)
            try:
                await self._read(taker)
            except (LinkLost, ProtocolError) as error:
                self.end(str(error))  # the writer tells the agent why, if there is one still
            else:
                nursery.cancel_scope.cancel()
        if self._why:
            raise LinkLost(f"{self}: {self._why}")

    async def _write(self) -> None:
        """Say what is queued; then close, by which the reader ends."""
        with self._writing:
            try:
                async for message in self._queue:
                    await self._ws.send(message)
            except LinkLost as error:
                _log.debug("%s: %s", self, error)
        await self._ws.send_away(self._why)

    async def _read(self, taker: Taker) -> None:
        while True:
            message = await self._ws.receive()
            await self._wait_for_turn()
            match message:
                case Update():
                    await taker.update(self, message)
                case Deregister(reason=reason):
                    await taker.leave(self, printable(reason))
                    return
                case Unknown(type=kind):
                    self._note_unknown(printable(kind))
                case Register():
                    await self._ws.connection.close(_OUT_OF_ORDER, "a second register")
                    raise ProtocolError("a second register")

    async def _wait_for_turn(self) -> None:
        """Who says more than may be said is read more slowly; nothing of it is lost."""
        pause = self._bucket.take(trio.current_time())
        if pause:
            self._counters.held_up += 1
            await trio.sleep(pause)

    def _note_unknown(self, kind: str) -> None:
        if kind not in self._unknown and len(self._unknown) < _UNKNOWN_KINDS:
            self._unknown.add(kind)
            _log.warning('%s: skipped a message of unknown type "%s"', self, kind)
