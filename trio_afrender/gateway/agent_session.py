"""One websocket of an agent: forwards its messages to its render, and those of its render to it.

The writer is a separate task behind a short queue. So an agent that does not read delays neither
the heartbeats that are sent for it nor the requests of other renders.
"""

from __future__ import annotations

import logging
from typing import Protocol

import attrs
import trio

from trio_afrender.errors import LinkLost, ProtocolError
from trio_afrender.gateway.counters import GatewayCounters
from trio_afrender.gateway.rate_limit import TokenBucket
from trio_afrender.protocol.messages import (
    Deregister,
    Events,
    FromRender,
    FromServer,
    Register,
    TaskExec,
    Unknown,
    Update,
)
from trio_afrender.text import printable
from trio_afrender.transport.repeated_lines import RepeatedLines
from trio_afrender.transport.websocket_server import WebSocketServerLink

__all__ = ("AgentSession", "MessageHandler")

_log = logging.getLogger(__name__)

_MAX_QUEUE = 256
"""Messages that wait for an agent. It gets one for each update, of which 16 may be unanswered."""
_CLOSE_TIMEOUT = 2.0
"""Seconds for sending what is queued when a session ends."""
_BURST_SECONDS = 10.0
"""The messages of so many seconds may arrive at once."""
BYTE_RATE, BYTE_BURST = 2 * 2**20, 32 * 2**20
"""Bytes a second that an agent may send over time, and bytes at once."""
_MAX_UNKNOWN_TYPES = 20
"""Unknown message types that are logged for one session."""
_PROTOCOL_ERROR = 1002
"""The close code of a websocket."""


class MessageHandler(Protocol):
    """Handles the messages of an agent; a `RenderProxy`."""

    async def update(self, session: AgentSession, update: Update) -> None: ...
    async def leave(self, session: AgentSession, reason: str) -> None: ...
    async def refuse(self, session: AgentSession, task: TaskExec, reason: str) -> None: ...


class AgentSession:
    """One websocket, registered under `name`."""

    def __init__(
        self,
        ws: WebSocketServerLink,
        name: str,
        counters: GatewayCounters,
        lines: RepeatedLines,
        *,
        rate: float,
    ) -> None:
        self.name = name
        self.token: bytes = ws.grant.digest
        """The SHA-256 of the agent's token."""
        self._ws = ws
        self._counters = counters
        self._lines = lines
        self._messages = TokenBucket(rate, rate * _BURST_SECONDS)
        self._bytes = TokenBucket(BYTE_RATE, BYTE_BURST)
        self._send, self._queue = trio.open_memory_channel[FromServer](_MAX_QUEUE)
        self._writing = trio.CancelScope()
        self._end_reason = ""
        self._unknown: set[str] = set()
        self.over: trio.Event = trio.Event()
        """Set when no message will be sent or handled any more."""

    def __str__(self) -> str:
        return f"render {self.name!a} at {self._ws.peer!a}"

    @property
    def ending(self) -> bool:
        """Whether `end` was called."""
        return bool(self._end_reason)

    def put(self, message: FromServer) -> None:
        """Queue a message. A session that is over drops it."""
        try:
            self._send.send_nowait(message)
        except trio.WouldBlock:
            # To wait here would delay the render's native link, and with it its heartbeats.
            self.end("this agent does not read")
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            _log.debug("%s: over, dropped a message", self)

    def end(self, why: str) -> None:
        """End the session when what is queued has been sent, after 2 seconds at most.

        The agent gets the reason in the close frame, and connects again.
        """
        if not self._end_reason:
            self._end_reason = why
            self._writing.deadline = trio.current_time() + _CLOSE_TIMEOUT
            self._send.close()

    async def run(self, handler: MessageHandler) -> None:
        """Serve until the websocket ends. Raises `LinkLost` unless the agent deregistered."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write, handler)
            try:
                while await self._handle(handler, await self._ws.receive()):
                    size = self._ws.connection.message_size
                    # The seat is free while this agent is held back, and so is the memory, to which
                    # no name here refers. As the message does not count as consumed, no further
                    # large one is read.
                    self._ws.connection.leave_seat()
                    # It is read more slowly if it sends too much: then TCP holds it back.
                    now = trio.current_time()
                    for_messages = self._messages.take(now)
                    for_bytes = self._bytes.take(now, size)
                    self._counters.held_up += for_messages > 0
                    self._counters.held_up_bytes += for_bytes > 0
                    if pause := max(for_messages, for_bytes):
                        await trio.sleep(pause)
            except (LinkLost, ProtocolError) as error:
                self.end(str(error))  # the writer sends the reason, if the agent is still there
            else:
                nursery.cancel_scope.cancel()
        if self._end_reason:
            raise LinkLost(f"{self}: {self._end_reason}")

    async def _write(self, handler: MessageHandler) -> None:
        """Send what is queued, then close the websocket, which ends the reader."""
        with self._writing:
            try:
                async for message in self._queue:
                    try:
                        await self._ws.send(message)
                    except ProtocolError:
                        if not isinstance(message, Events):
                            raise
                        await self._send_parts(handler, message)
            except LinkLost as error:
                _log.debug("%s: %s", self, error)
        await self._ws.send_away(self._end_reason)

    async def _send_parts(self, handler: MessageHandler, events: Events) -> None:
        """Send what is larger than a frame in parts: the server's messages may have eight times as much."""
        for task in events.tasks:
            try:
                await self._ws.send(Events(tasks=(task,)))
            except ProtocolError as error:
                await handler.refuse(self, task, str(error))
        await self._ws.send(attrs.evolve(events, tasks=()))

    async def _handle(self, handler: MessageHandler, message: FromRender) -> bool:
        """Handle a message; return whether another one may follow."""
        match message:
            case Update():
                await handler.update(self, message)
            case Deregister(reason=reason):
                await handler.leave(self, printable(reason))
                return False
            case Unknown(type=sent):
                kind = printable(sent)
                if kind not in self._unknown and len(self._unknown) < _MAX_UNKNOWN_TYPES:
                    self._unknown.add(kind)
                    text = '%s: skipped a message of unknown type "%s"'
                    self._lines.log(
                        logging.WARNING, self.name, "unknown messages", text, self, kind
                    )
            case Register():
                await self._ws.connection.close(_PROTOCOL_ERROR, "a second register")
                raise ProtocolError("a second register")
        return True
