"""Hypercorn's trio worker behind listeners of our own, which bound what connections cost.

The worker shields what it sends from cancellation, so a browser that does not read would hold the end
of the program, or of the farm in it: here each send has a time limit, and the end closes the sockets.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import cast

import trio
from hypercorn.config import Config as HypercornConfig
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework
from hypercorn.utils import wrap_app
from starlette.types import ASGIApp

from trio_afrender.transport.connection_seats import ConnectionSeats, address_group
from trio_afrender.transport.repeated_lines import RepeatedLines
from trio_afrender.transport.waiting_listener import WaitingListener
from trio_afrender.web.turns import Turns

__all__ = ("serve_http",)

_log = logging.getLogger(__name__)

_SEND_TIMEOUT = 30.0
"""Seconds in which a browser has to take what is sent at once: a viewer that sleeps is cut off."""
_HANDSHAKE_TIMEOUT = 10.0
_IDLE_TIMEOUT = 15.0
"""Seconds without a request after which a connection is closed, also before the first one."""
_SILENCE = 60.0
"""Seconds without a byte in either direction after which a connection is closed."""
_MAX_CONNECTIONS = 600
_MAX_HEAD = 16 * 1024


class _PacedStream(trio.abc.HalfCloseableStream):
    """A socket whose peer has to take what is sent within a time limit."""

    def __init__(self, stream: trio.SocketStream, turns: Turns) -> None:
        self.socket = stream.socket
        self._stream = stream
        self._turns = turns
        # The worker ends a connection whose peer sends too much while it is answered.
        self._sending = trio.Lock()
        # A stream of events is never silent so long; HTTP/2, which a browser may ask for, has no
        # other limit.
        self.silence = trio.CancelScope(deadline=trio.current_time() + _SILENCE)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        async with self._sending:
            with trio.move_on_after(_SEND_TIMEOUT) as timeout:
                await self._stream.send_all(data)
        self._note_use()
        if timeout.cancelled_caught:
            await trio.aclose_forcefully(self._stream)
            raise trio.BrokenResourceError(f"the peer took nothing for {_SEND_TIMEOUT:g} s")

    def _note_use(self) -> None:
        self.silence.deadline = trio.current_time() + _SILENCE

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self._stream.receive_some(max_bytes)
        self._note_use()
        # Requests that come at once are read and answered a few at a time.
        await self._turns.wait()
        return data

    async def send_eof(self) -> None:
        async with self._sending:
            await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()


async def serve_http(
    app: ASGIApp,
    listeners: Sequence[trio.SocketListener],
    ssl_context: ssl.SSLContext | None,
    turns: Turns,
    lines: RepeatedLines,
) -> None:
    """Serve an application until cancelled; the listeners are closed then."""
    config = HypercornConfig()
    config.accesslog = None
    config.errorlog = logging.getLogger(f"{__name__}.hypercorn")
    config.keep_alive_timeout = _IDLE_TIMEOUT
    config.ssl_handshake_timeout = _HANDSHAKE_TIMEOUT
    config.h11_max_incomplete_size = _MAX_HEAD
    config.include_server_header = False
    wrapped = wrap_app(cast("ASGIFramework", app), config.wsgi_max_body_size, "asgi")
    context = WorkerContext(None)
    limit = _connection_limit()
    seats = ConnectionSeats(limit, limit - limit // 8)
    streams: set[trio.SocketStream] = set()

    async def serve(stream: trio.SocketStream) -> None:
        streams.add(stream)
        host = ""
        try:
            host = str(stream.socket.getpeername()[0])
            await turns.wait()
            paced = _PacedStream(stream, turns)
            served: trio.abc.Stream = paced
            if ssl_context is not None:
                served = trio.SSLStream(paced, ssl_context, server_side=True, https_compatible=True)
            # Closing the socket ends the worker's reads and sends, also the shielded ones.
            with seats.take(host, stream.socket.close), paced.silence:
                await TCPServer(wrapped, config, context, {}, served)  # type: ignore[arg-type]  # a plain stream too
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            _log.debug("the page: connection lost: %s", error)
        except Exception as error:  # noqa: BLE001 - one connection must not end the others
            # Others can cause it, as often as they like: no traceback each time.
            lines.log(
                logging.ERROR,
                address_group(host),
                "the page: failed connections",
                "the page: a connection has failed: %r",
                error,
            )
            _log.debug("the page: connection lost: %s", error, exc_info=error)
        finally:
            streams.discard(stream)
            stream.socket.close()

    try:
        async with trio.open_nursery() as nursery:
            try:
                waiting = [WaitingListener(each, "browsers") for each in listeners]
                await trio.serve_listeners(serve, waiting, handler_nursery=nursery)
            finally:
                for stream in streams:
                    stream.socket.close()
    finally:
        for listener in listeners:
            with suppress(OSError):
                listener.socket.close()


def _connection_limit() -> int:
    """Connections at once: a share of this process's descriptors, which a farm in it needs too."""
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return _MAX_CONNECTIONS
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MAX_CONNECTIONS
    return max(64, min(_MAX_CONNECTIONS, soft // 2))
