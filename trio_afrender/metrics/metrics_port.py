"""Serves figures over HTTP for Prometheus: ``GET /metrics`` and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

import attrs
import trio

from trio_afrender.config.value_rules import validate
from trio_afrender.metrics.families import CONTENT_TYPE, MetricFamily, counter, format_families
from trio_afrender.transport.connection_seats import ConnectionSeats
from trio_afrender.transport.waiting_listener import WaitingListener

__all__ = ("MAX_REQUESTS", "MetricsPort", "serve_metrics")

_MAX_REQUEST_HEAD = 8192
"""Bytes of a request up to its empty line."""
_REQUEST_TIMEOUT = 5.0
"""Seconds for one request and its answer."""
MAX_REQUESTS, MAX_REQUESTS_OF_ONE = 16, 8
"""Requests at the same time in total, and of one address; see `ConnectionSeats`."""


@attrs.define(eq=False)
class MetricsPort:
    """What is served: the figures that `collect` returns. `prefix` is that of the port's own figure."""

    collect: Callable[[], Iterable[MetricFamily]]
    prefix: str = attrs.field(validator=validate)
    _seats: ConnectionSeats = attrs.field(
        factory=lambda: ConnectionSeats(MAX_REQUESTS, MAX_REQUESTS_OF_ONE)
    )

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Answer one request, and close the stream."""
        host = ""
        if isinstance(stream, trio.SocketStream):
            with suppress(OSError):  # the client has hung up already
                host = stream.socket.getpeername()[0]
        with trio.move_on_after(_REQUEST_TIMEOUT) as answering:
            with self._seats.take(host, answering.cancel):
                async with stream:
                    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                        await self._answer(stream)

    async def _answer(self, stream: trio.abc.Stream) -> None:
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
            text = "Connections for metrics that were closed for newer ones."
            own = counter(f"{self.prefix}metrics_displaced", text, self._seats.displaced)
            status, body = "200 OK", format_families([*self.collect(), own])
        data = body.encode()
        lines = (
            f"HTTP/1.1 {status}",
            f"Content-Type: {CONTENT_TYPE}",
            f"Content-Length: {len(data)}",
            "Connection: close",
            "",
            "",
        )
        await stream.send_all("\r\n".join(lines).encode() + (b"" if method == b"HEAD" else data))


async def serve_metrics(
    served: MetricsPort,
    listeners: Sequence[trio.SocketListener],
    *,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the figures until cancelled; the task status is the port."""
    async with trio.open_nursery() as nursery:
        waiting = [WaitingListener(each, "metrics") for each in listeners]
        await nursery.start(trio.serve_listeners, served.serve, waiting)
        task_status.started(listeners[0].socket.getsockname()[1])
