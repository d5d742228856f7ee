"""The counters over HTTP, as Prometheus asks for them: ``GET /metrics``, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import trio

from trio_afrender.errors import ConfigError
from trio_afrender.gateway.settings import ListenAddress

__all__ = ("serve_metrics",)

_MAX_REQUEST_HEAD = 8192
"""Bytes of a request's head."""
_REQUEST_TIMEOUT = 5.0
_MAX_REQUESTS = 16
"""Requests; more of them are closed at once."""
_TYPE = "text/plain; version=0.0.4; charset=utf-8"


async def serve_metrics(
    tell: Callable[[], str],
    place: ListenAddress,
    *,
    listeners: Sequence[trio.abc.Listener[trio.abc.Stream]] | None = None,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve what `tell` returns until cancelled; the status is the port. Raises `ConfigError`."""
    if listeners is None:
        try:
            listeners = await trio.open_tcp_listeners(place.port, host=place.host)
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {place.host}:{place.port} for --metrics: "
                f"{error.strerror or error}"
            ) from error
    first = listeners[0]
    port = first.socket.getsockname()[1] if isinstance(first, trio.SocketListener) else place.port
    seats = trio.CapacityLimiter(_MAX_REQUESTS)
    async with trio.open_nursery() as nursery:
        await nursery.start(
            partial(trio.serve_listeners, partial(_serve, tell, seats), list(listeners))
        )
        task_status.started(port)


async def _serve(
    tell: Callable[[], str], seats: trio.CapacityLimiter, stream: trio.abc.Stream
) -> None:
    async with stream:
        try:
            seats.acquire_nowait()
        except trio.WouldBlock:
            return
        try:
            with trio.move_on_after(_REQUEST_TIMEOUT):
                await _answer(tell, stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        finally:
            seats.release()


async def _answer(tell: Callable[[], str], stream: trio.abc.Stream) -> None:
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
        status, body = "200 OK", tell()
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
