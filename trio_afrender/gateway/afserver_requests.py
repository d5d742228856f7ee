"""The requests of a gateway to its server: a few at once, counted and timed.

An exchange is one TCP connection with one request and its answer.
"""

from __future__ import annotations

import ipaddress
import socket
from contextlib import nullcontext

import trio

from trio_afrender.afserver.client import Dialer, OpenStream
from trio_afrender.errors import AfRenderError
from trio_afrender.gateway.counters import GatewayCounters
from trio_afrender.protocol.afanasy import Message
from trio_afrender.transport.address import NativeAddress

__all__ = ("GatewayDialer", "open_quickly")

MAX_EXCHANGES = 8
"""Exchanges in progress: the server reads with ten threads, and has other clients."""
MAX_SLOW_EXCHANGES = 4
"""Exchanges in progress that the server answers only in its next cycle, up to a second later."""
_DEREGISTER = (9).to_bytes(4, "big")
_ACTION = b'{"action"'
_TYPE, _BODY = slice(4, 8), 12
"""Where the type of a message and its body are in the bytes of a request."""


class GatewayDialer(Dialer):
    """The `Dialer` of all renders of a gateway."""

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
        is_slow = request[_TYPE] == _DEREGISTER or request.startswith(_ACTION, _BODY)
        async with self._slow if is_slow else nullcontext():
            try:
                answer = await super().ask(request)
            except AfRenderError:
                self._counters.exchanges_failed += 1
                raise
        self._counters.exchanges += 1
        self._counters.exchange_seconds += trio.current_time() - began
        return answer


async def open_quickly(host: str, port: int) -> trio.abc.Stream:
    """Connect to a host. For a numeric address, without the name lookup and the parallel attempts
    of `trio.open_tcp_stream`: a gateway connects for each heartbeat of each render.
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
