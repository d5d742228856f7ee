"""One TCP exchange a message: connect, say it, hear the answer, close. Never two on a connection.

The server closes nothing itself and looks with spaces whether we are still there, so an answer is
read to its announced length and no further. Then the connection is reset (linger 0): the server
has seen its answer taken, and an ordinary close would leave a port in TIME_WAIT for a minute, of
which a host has 28,000.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TypeAlias

import trio

from trio_afrender.errors import LinkLost, ProtocolError
from trio_afrender.protocol.afanasy import Message, Receiver
from trio_afrender.transport.address import NativeAddress, explain_unreachable

__all__ = ("AnswerLost", "Dialer", "OpenStream")

OpenStream: TypeAlias = Callable[[str, int], Awaitable[trio.abc.Stream]]
"""Opens a byte stream to a host and port, or raises OSError."""
Gate: TypeAlias = AbstractAsyncContextManager[object]
"""Held during an exchange, as a limiter of many renders' exchanges."""

_RECEIVE_SIZE = 64 * 1024
_LINGER_NONE = struct.pack("ii", 1, 0)


class AnswerLost(LinkLost):
    """The request went out and no answer came: whether the server has it is not known."""


class Dialer:
    """Makes exchanges with one server."""

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
        """What to connect to: the numbers that the name stood for, as long as they work."""

    async def ask(self, request: bytes) -> Message:
        """Send a whole message and return the answer.

        Raises `LinkLost` when the request did not go out, `AnswerLost` when it may have, and
        `ProtocolError` when what came back is no message. Cancelled, it may have gone out too.
        """
        async with self._gate:
            stream: trio.abc.Stream | None = None
            with trio.move_on_after(self._timeout):
                stream = await self._connect()
                try:
                    return await self._talk(stream, request)
                finally:
                    with trio.CancelScope(shield=True):
                        await trio.aclose_forcefully(stream)
        lost = LinkLost if stream is None else AnswerLost
        raise lost(f"{self.address.url}: no answer within {self._timeout:g} s")

    async def _connect(self) -> trio.abc.Stream:
        try:
            stream = await self._open_stream(self._host, self.address.port)
        except OSError as error:
            self._host = self.address.host
            raise LinkLost(f"{self.address.url}: {explain_unreachable(error)}") from error
        self._host = _numbers_of(stream) or self.address.host
        return stream

    async def _talk(self, stream: trio.abc.Stream, request: bytes) -> Message:
        receiver = Receiver()
        try:
            await stream.send_all(request)
            while data := await stream.receive_some(_RECEIVE_SIZE):
                answer = receiver.feed(data)
                if answer is not None:
                    _linger_none(stream)
                    return answer
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as error:
            raise AnswerLost(f"{self.address.url}: hung up before its answer was whole") from error
        except ProtocolError as error:
            raise ProtocolError(f"{self.address.url}: {error}") from error
        raise AnswerLost(
            f"{self.address.url}: hung up in the middle of its answer"
            if receiver.begun
            else f"{self.address.url}: hung up without an answer"
        )


def _numbers_of(stream: trio.abc.Stream) -> str:
    """The peer's address as numbers, so that a name need not be looked up for every exchange.

    Empty when it is of no use: no socket, or a link-local one that needs its interface.
    """
    if not isinstance(stream, trio.SocketStream):
        return ""
    try:
        host = str(stream.socket.getpeername()[0])
        return "" if ipaddress.ip_address(host).is_link_local else host
    except (OSError, ValueError):
        return ""


def _linger_none(stream: trio.abc.Stream) -> None:
    if isinstance(stream, trio.SocketStream):
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
