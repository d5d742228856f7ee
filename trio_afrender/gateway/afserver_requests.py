"""All exchanges of a gateway with its server: a few at once, counted and timed."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import AbstractAsyncContextManager, nullcontext

import trio

from trio_afrender.afserver.client import Dialer, OpenStream
from trio_afrender.errors import AfRenderError
from trio_afrender.gateway.counters import GatewayCounters
from trio_afrender.protocol.afanasy import Message
from trio_afrender.transport.address import NativeAddress

__all__ = ("GatewayDialer", "open_quickly")

MAX_EXCHANGES = 8
"""Exchanges in flight: the server has ten threads that read, and others want some of them."""
MAX_SLOW_EXCHANGES = 4
"""Of these, such as are answered with the server's next turn only, up to a second later."""
_DEREGISTER = (9).to_bytes(4, "big")
_ACTION = b'{"action"'
_TYPE, _BODY = slice(4, 8), 12


class GatewayDialer(Dialer):
    """A `Dialer` for all renders of a gateway."""

    def __init__(
        self,
        address: NativeAddress,
        counters: GatewayCounters,
        *,
        open_stream: OpenStream | None = None,
        timeout: float = 12.0,
    ) -> None:
        super().__init__(
            address,
            open_stream=open_stream or open_quickly,
            timeout=timeout,
            gate=trio.CapacityLimiter(MAX_EXCHANGES),
        )
        self._counters = counters
        self._slow = trio.CapacityLimiter(MAX_SLOW_EXCHANGES)

    async def ask(self, request: bytes) -> Message:
        began = trio.current_time()
        async with self._queue(request):
            try:
                answer = await super().ask(request)
            except AfRenderError:
                self._counters.exchanges_failed += 1
                raise
        self._counters.exchanges += 1
        self._counters.exchange_seconds += trio.current_time() - began
        return answer

    def _queue(self, request: bytes) -> AbstractAsyncContextManager[object]:
        slow = request[_TYPE] == _DEREGISTER or request.startswith(_ACTION, _BODY)
        return self._slow if slow else nullcontext()


async def open_quickly(host: str, port: int) -> trio.abc.Stream:
    """A stream to a host; for an address in numbers without the races that a name needs.

    A gateway connects for each sign of life of each render.
    """
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return await trio.open_tcp_stream(host, port)
    connection = trio.socket.socket(
        socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_STREAM
    )
    try:
        await connection.connect((host, port))
    except BaseException:
        connection.close()
        raise
    return trio.SocketStream(connection)
