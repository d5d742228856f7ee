"""The requests of a gateway to its server: a few at once, in fair turns, counted and timed.

An exchange is one TCP connection with one request and its answer. The tokens of the agents take
turns: an agent gets its answers at the same pace, however many others of one token send.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Hashable
from contextlib import nullcontext

import trio

from trio_afrender.afserver.client import Dialer, OpenStream
from trio_afrender.errors import AfRenderError
from trio_afrender.gateway.counters import GatewayCounters
from trio_afrender.protocol.afanasy import Message
from trio_afrender.transport.address import NativeAddress
from trio_afrender.transport.fair_gate import FairGate

__all__ = ("AfserverExchanges", "GatewayDialer", "open_quickly")

MAX_EXCHANGES = 8
"""Exchanges in progress: the server reads with ten threads, and has other clients."""
MAX_SLOW_EXCHANGES = 4
"""Exchanges in progress that the server answers only in its next cycle, up to a second later."""
_DEREGISTER = (9).to_bytes(4, "big")
_ACTION = b'{"action"'
_TYPE, _BODY = slice(4, 8), 12
"""Where the type of a message and its body are in the bytes of a request."""


class AfserverExchanges:
    """What all exchanges of a gateway share: fair turns, and the counters."""

    def __init__(
        self,
        address: NativeAddress,
        counters: GatewayCounters,
        *,
        open_stream: OpenStream | None = None,
        timeout: float = 12.0,
    ) -> None:
        self.address = address
        self.counters = counters
        self.turns: FairGate = FairGate(MAX_EXCHANGES, count_wait=self._count_wait)
        self.slow_turns: FairGate = FairGate(MAX_SLOW_EXCHANGES)
        self._open_stream = open_stream or open_quickly
        self._timeout = timeout

    def dialer(self, key: Hashable) -> GatewayDialer:
        """Return what makes the exchanges of one render. `key` is whose turns they take."""
        return GatewayDialer(self, key, self._open_stream, self._timeout)

    def _count_wait(self) -> None:
        self.counters.exchanges_waited += 1


class GatewayDialer(Dialer):
    """The `Dialer` of one render of a gateway."""

    def __init__(
        self, exchanges: AfserverExchanges, key: Hashable, open_stream: OpenStream, timeout: float
    ) -> None:
        super().__init__(
            exchanges.address,
            open_stream=open_stream,
            timeout=timeout,
            gate=exchanges.turns.for_key(key),
        )
        self._counters = exchanges.counters
        self._slow = exchanges.slow_turns.for_key(key)

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
