"""Serves the counters over HTTP for Prometheus: ``GET /metrics`` and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import trio

from trio_afrender.errors import ConfigError
from trio_afrender.gateway.counters import GatewayCounters, format_counters
from trio_afrender.gateway.settings import ListenAddress
from trio_afrender.transport.accepting import WaitingListener
from trio_afrender.transport.connection_seats import ConnectionSeats

__all__ = ("serve_metrics",)

_MAX_REQUEST_HEAD = 8192
"""Bytes of a request up to its empty line."""
_REQUEST_TIMEOUT = 5.0
"""Seconds for one request and its answer."""
MAX_REQUESTS, MAX_REQUESTS_OF_ONE = 16, 8
"""Requests at the same time in total, and of one address; see `ConnectionSeats`."""
_TYPE = "text/plain; version=0.0.4; charset=utf-8"


async def serve_metrics(
    counters: GatewayCounters,
    address: ListenAddress,
    *,
    listeners: Sequence[trio.abc.Listener[trio.abc.Stream]] | None = None,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the counters until cancelled; the task status is the port.

    Raises `ConfigError` if it cannot listen.
    """
    if listeners is None:
        try:
            listeners = await trio.open_tcp_listeners(address.port, host=address.host)
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {address.host}:{address.port} for --metrics: "
                f"{error.strerror or error}"
            ) from error
    first = listeners[0]
    port = first.socket.getsockname()[1] if isinstance(first, trio.SocketListener) else address.port
    seats = ConnectionSeats(MAX_REQUESTS, MAX_REQUESTS_OF_ONE)
    async with trio.open_nursery() as nursery:
        waiting = [WaitingListener(each, "metrics") for each in listeners]
        await nursery.start(trio.serve_listeners, partial(_serve, counters, seats), waiting)
        task_status.started(port)


async def _serve(
    counters: GatewayCounters, seats: ConnectionSeats, stream: trio.abc.Stream
) -> None:
    host = ""
    if isinstance(stream, trio.SocketStream):
        with suppress(OSError):  # the client has hung up already
            host = stream.socket.getpeername()[0]
    with trio.move_on_after(_REQUEST_TIMEOUT) as answering:
        with seats.take(host, answering.cancel):
            counters.metrics_displaced = seats.displaced
            async with stream:
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await _answer(counters, stream)


async def _answer(counters: GatewayCounters, stream: trio.abc.Stream) -> None:
    head = b""
    while b"\r\n\r\n" not in head:
        data = await stream.receive_some(_MAX_REQUEST_HEAD)
        head += data
        if not data or len(head) > _MAX_REQUEST_HEAD:
            return
    method, _, rest = head.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0]
    if method not in (b"GET", b"HEAD"):
        status, body = "405 Method Not Allowed", "GET only\n"
    elif path != b"/metrics":
        status, body = "404 Not Found", "see /metrics\n"
    else:
        status, body = "200 OK", format_counters(counters)
    data = body.encode()
    lines = (
        f"HTTP/1.1 {status}",
        f"Content-Type: {_TYPE}",
        f"Content-Length: {len(data)}",
        "Connection: close",
        "",
        "",
    )
    await stream.send_all("\r\n".join(lines).encode() + (b"" if method == b"HEAD" else data))
