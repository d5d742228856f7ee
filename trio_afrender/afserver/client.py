"""One exchange with an afserver: connect, send one message, receive one answer, close.

The server answers one request a connection and ignores a second one. It expects the client to
close first: after its answer it keeps the connection for up to 10 s and tests now and then whether
the client is still there, by sending one space. So an answer is read up to its announced length;
whatever follows is not part of it, and waiting for the end of the stream would take 10 s.

The client side that closes first gets the TIME_WAIT state, which blocks its port for a minute. A
host has about 28,000 such ports, and a gateway with hundreds of renders uses them up. Therefore
the connection is reset (SO_LINGER with 0 s) once the whole answer has arrived.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from typing import TypeAlias

import trio

from trio_afrender.errors import LinkLost, ProtocolError, is_exhausted
from trio_afrender.protocol.afanasy import Message, Receiver
from trio_afrender.transport.address import NativeAddress, explain_unreachable

__all__ = ("AnswerLost", "Dialer", "OpenStream")

OpenStream: TypeAlias = Callable[[str, int], Awaitable[trio.abc.Stream]]
"""Opens a byte stream to a host and port, or raises OSError."""
Gate: TypeAlias = AbstractAsyncContextManager[object]
"""Held during an exchange: a capacity limiter that several dialers share, for example."""

_RECEIVE_SIZE = 64 * 1024
_LINGER_NONE = struct.pack("ii", 1, 0)


class AnswerLost(LinkLost):
    """The request was sent and no answer came, so it is unknown whether the server applied it."""


class Dialer:
    """Makes exchanges with one server, each on a connection of its own."""

    def __init__(
        self,
        address: NativeAddress,
        *,
        open_stream: OpenStream | None = None,
        timeout: float = 12.0,
        gate: Gate | None = None,
    ) -> None:
        self.address = address
        self._open_stream = open_stream or trio.open_tcp_stream
        self._timeout = timeout
        self._gate: Gate = gate or nullcontext()
        self._host = address.host
        """The host to connect to: the address that the name resolved to, while connects succeed."""

    async def ask(self, request: bytes) -> Message:
        """Send a whole message and return the answer.

        Raises `LinkLost` if the request was not sent, `AnswerLost` if it may have been sent, and
        `ProtocolError` if the answer is no message. After a cancellation the request may have been
        sent too.
        """
        receiver = Receiver()
        async with self._connected() as stream:
            try:
                # In one piece: the server has ten threads that read, and a message that comes in
                # parts occupies one of them until its last byte (at most 12 s).
                await stream.send_all(request)
                while data := await stream.receive_some(_RECEIVE_SIZE):
                    answer = receiver.feed(data)
                    if answer is not None:
                        # Only now: a reset before the whole answer could discard a request that the
                        # server has not read yet
                        # (test_a_connection_is_reset_only_after_the_whole_answer).
                        if isinstance(stream, trio.SocketStream):
                            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
                        return answer
            except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as error:
                raise AnswerLost(f"{self.address.url}: hung up before the whole answer") from error
            except ProtocolError as error:
                raise ProtocolError(f"{self.address.url}: {error}") from error
        raise AnswerLost(
            # An end of the stream without a header is how the server refuses a message that it
            # cannot read, and what it does while it stops. Both count as a lost answer.
            f"{self.address.url}: hung up in the middle of its answer"
            if receiver.begun
            else f"{self.address.url}: hung up without an answer"
        )

    async def fetch(
        self, request: bytes, limit: int, is_whole: Callable[[bytearray], bool]
    ) -> bytes:
        """Send a request of another protocol, HTTP; return what comes back until that is whole, or
        to the end.

        Raises `LinkLost`, also for more than `limit` bytes.
        """
        data = bytearray()
        async with self._connected() as stream:
            try:
                await stream.send_all(request)
                while part := await stream.receive_some(_RECEIVE_SIZE):
                    data += part
                    if len(data) > limit:
                        raise LinkLost(f"{self.address.url}: answered with over {limit} bytes")
                    if is_whole(data):
                        break
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise LinkLost(f"{self.address.url}: hung up") from error
        return bytes(data)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[trio.abc.Stream]:
        """Connect; leaving closes the connection, at once. Raises `LinkLost` if that fails or takes
        too long, `AnswerLost` if the body takes too long."""
        # The gate is outside the time limit: waiting for other renders' exchanges says nothing
        # about the server (test_waiting_at_the_gate_is_not_a_silent_server).
        async with self._gate:
            stream: trio.abc.Stream | None = None
            with trio.move_on_after(self._timeout) as waiting:
                stream = await self._connect()
                try:
                    yield stream
                finally:
                    with trio.CancelScope(shield=True):
                        await trio.aclose_forcefully(stream)
        if waiting.cancelled_caught:
            lost = LinkLost if stream is None else AnswerLost
            raise lost(f"{self.address.url}: no answer within {self._timeout:g} s")

    async def _connect(self) -> trio.abc.Stream:
        try:
            stream = await self._open_stream(self._host, self.address.port)
        except OSError as error:
            # The name may resolve to another address now, so the next connect looks it up again.
            self._host = self.address.host
            raise LinkLost(f"{self.address.url}: {explain_unreachable(error)}") from error
        except RuntimeError as error:
            # A name is looked up in a thread, and the host may have none left.
            if not is_exhausted(error):
                raise
            raise LinkLost(f"{self.address.url}: {error}") from error
        # The IP address of the peer, so that the name is not resolved for every exchange. Without a
        # socket there is none, and a link-local one would need the name of its interface too.
        self._host = self.address.host
        if isinstance(stream, trio.SocketStream):
            with suppress(OSError, ValueError):
                host = str(stream.socket.getpeername()[0])
                if not ipaddress.ip_address(host).is_link_local:
                    self._host = host
        return stream
