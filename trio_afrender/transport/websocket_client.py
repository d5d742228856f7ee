"""The render's end of a websocket: connect, authenticate with a token, speak `afrender.v1`."""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TypeAlias

import trio
from trio_websocket import ConnectionRejected, WebSocketConnection, wrap_client_stream

from trio_afrender.async_helpers import flatten, open_bare_nursery
from trio_afrender.config.settings import Config, Token
from trio_afrender.errors import LinkLost, LinkRefused, ProtocolError
from trio_afrender.protocol.json_codec import MAX_FRAME, SUBPROTOCOL, decode_from_server, encode
from trio_afrender.protocol.messages import (
    Ack,
    Deregister,
    Events,
    Refused,
    Register,
    Registered,
    Unknown,
    Update,
)
from trio_afrender.text import printable
from trio_afrender.transport.address import WebSocketAddress, explain_unreachable, parse_url
from trio_afrender.transport.interfaces import Connect, Link
from trio_afrender.transport.liveness_stream import HandshakeAborted, LivenessStream
from trio_afrender.transport.tls import explain_tls, make_client_context
from trio_afrender.transport.websocket_connection import (
    MAX_FRAGMENT_BACKLOG,
    MAX_QUEUED_FRAMES,
    RECEIVE_SIZE,
    Connection,
)

__all__ = ("OpenStream", "WebSocketLink", "make_connect", "open_websocket_link")

OpenStream: TypeAlias = Callable[[str, int], Awaitable[trio.abc.Stream]]
"""Opens a byte stream to a host and port, or raises OSError."""

_MAX_UNKNOWN_TYPES = 64
"""Unknown message types that one link logs, each once."""
_log = logging.getLogger(__name__)


def make_connect(config: Config, *, ssl_context: ssl.SSLContext | None = None) -> Connect:
    """Return a function that opens links to the configured server.

    Raises `ConfigError` for a URL or a CA file that cannot be used.
    """
    address = parse_url(config.server, allow_plain=config.allow_plain)
    if address.tls and ssl_context is None:
        ssl_context = make_client_context(config.ca_file)
    return partial(
        open_websocket_link,
        config.server,
        token=config.token,
        ssl_context=ssl_context,
        allow_plain=config.allow_plain,
        keepalive=config.timing.zombie,
        timeout=config.timing.connect,
    )


class WebSocketLink:
    """A `Link` over an open websocket."""

    def __init__(self, connection: Connection, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout
        self._unknown: set[str] = set()

    async def register(self, register: Register) -> Registered | Refused:
        await self._connection.send(encode(register))
        # The time limit leaves the send out, because a send that is cancelled ends the connection.
        with trio.move_on_after(self._timeout):
            message = await self._next()
            if isinstance(message, Registered | Refused):
                return message
            await self._connection.close(1002, "expected registered or refused")
            tag = type(message).__name__.lower()
            raise ProtocolError(f'the server answered a register with "{tag}"')
        raise LinkLost(f"the server did not answer the register within {self._timeout:g} s")

    async def send(self, update: Update) -> None:
        await self._connection.send(encode(update))

    async def receive(self) -> Events | Ack:
        match await self._next():
            case Events() | Ack() as message:
                return message
            case Refused(reason="not-registered", text=text):
                raise LinkLost(f"the server does not know this render: {text}", register_now=True)
            case Refused(reason=reason, text=text, retry_after=retry_after):
                raise LinkRefused(reason, text, retry_after=retry_after)
        await self._connection.close(1002, "a second registered")
        raise ProtocolError('the server sent "registered" twice')

    async def deregister(self, reason: str) -> None:
        await self._connection.send(encode(Deregister(reason=reason)))

    async def _next(self) -> Registered | Refused | Events | Ack:
        while True:
            message = await self._connection.receive(decode_from_server)
            if not isinstance(message, Unknown):
                return message
            if message.type not in self._unknown and len(self._unknown) < _MAX_UNKNOWN_TYPES:
                self._unknown.add(message.type)
                _log.warning('skipped a message of unknown type "%s"', printable(message.type))


@asynccontextmanager
async def open_websocket_link(
    url: str,
    *,
    token: Token | None,
    ssl_context: ssl.SSLContext | None = None,
    allow_plain: bool = False,
    open_stream: OpenStream | None = None,
    keepalive: float = 16.0,
    timeout: float = 12.0,
) -> AsyncIterator[Link]:
    """Open a link to the server at `url`; leaving the context closes it.

    Raises `ConfigError` for a URL that must not be used, `LinkLost` if no trusted websocket server
    completes the handshake within `timeout` seconds, and `LinkRefused` if the server rejects this
    render. A peer that is silent for `keepalive` seconds counts as lost. Exceptions of the body
    leave the context as they are, in no group.
    """
    address = parse_url(url, allow_plain=allow_plain)
    # One deadline holds for the connect, for TLS and for the handshake, but two scopes apply it:
    # a cancel scope around the `async with` would also cover the body.
    deadline = trio.current_time() + timeout
    with _fail_at(deadline, url, timeout):
        stream = await _open_stream(address, ssl_context, open_stream or trio.open_tcp_stream)
    try:
        async with open_bare_nursery() as nursery:
            liveness = LivenessStream(stream, backlog=MAX_FRAGMENT_BACKLOG)
            with _fail_at(deadline, url, timeout):
                ws, reader_scope = await nursery.start(
                    _run_client, address, token, stream, liveness
                )
            connection = Connection(ws, reader_scope, stream, liveness, url)
            nursery.start_soon(connection.keep_alive, keepalive)
            try:
                yield WebSocketLink(connection, timeout)
            finally:
                await connection.close()
    finally:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(stream)


@contextmanager
def _fail_at(deadline: float, url: str, timeout: float) -> Iterator[None]:
    try:
        with trio.fail_at(deadline):
            yield
    except trio.TooSlowError:
        raise LinkLost(f"{url}: no answer within {timeout:g} s") from None


async def _open_stream(
    address: WebSocketAddress, ssl_context: ssl.SSLContext | None, open_stream: OpenStream
) -> trio.abc.Stream:
    """Connect; for ``wss`` do the TLS handshake too, with a check of the certificate."""
    try:
        stream = await open_stream(address.host, address.port)
    except OSError as error:
        raise LinkLost(f"{address.url}: {explain_unreachable(error)}") from error
    if not address.tls:
        return stream
    secured = trio.SSLStream(
        stream,
        ssl_context or make_client_context(),
        server_hostname=address.host,
        https_compatible=True,
    )
    try:
        await secured.do_handshake()
    except BaseException as error:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(stream)
        if isinstance(error, trio.BrokenResourceError):
            raise LinkLost(f"{address.url}: {explain_tls(error.__cause__)}") from error
        raise
    return secured


async def _run_client(
    address: WebSocketAddress,
    token: Token | None,
    stream: trio.abc.Stream,
    liveness: LivenessStream,
    *,
    task_status: trio.TaskStatus[tuple[WebSocketConnection, trio.CancelScope]],
) -> None:
    """Do the websocket handshake, then hold the nursery of the library's reader until it ends."""
    headers = [(b"Authorization", b"Bearer " + token.secret.encode("ascii"))] if token else []
    failures: list[Exception] = []
    try:
        async with trio.open_nursery() as nursery:
            ws = await wrap_client_stream(
                nursery,
                stream=liveness,  # type: ignore[arg-type]  # takes any stream, its stubs want sockets
                host=address.host_header,
                resource=address.resource,
                subprotocols=[SUBPROTOCOL],
                extra_headers=headers,
                message_queue_size=MAX_QUEUED_FRAMES,
                max_message_size=MAX_FRAME,
                receive_buffer_size=RECEIVE_SIZE,
            )
            if ws.subprotocol == SUBPROTOCOL:
                liveness.opened = True
                task_status.started((ws, nursery.cancel_scope))
            else:
                nursery.cancel_scope.cancel()
    except* Exception as group:  # noqa: BLE001 - any failure of the library only ends this link
        failures.extend(flatten(group))
    finally:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(stream)
    if not liveness.opened:
        raise _make_handshake_error(failures, address, token)
    if failures:
        _log.debug("%s: the websocket's reader ended", address.url, exc_info=failures[0])


def _make_handshake_error(
    failures: Sequence[Exception], address: WebSocketAddress, token: Token | None
) -> LinkLost | LinkRefused:
    """Return the error for a failed handshake: `LinkLost` if another try may succeed."""
    if not failures:
        return LinkRefused("version", f"{address.url} does not speak {SUBPROTOCOL}")
    rejected = next((each for each in failures if isinstance(each, ConnectionRejected)), None)
    if rejected is None:
        if isinstance(failures[0], HandshakeAborted):
            return LinkLost(f"{address.url}: {failures[0]}")
        _log.debug("%s: handshake failed", address.url, exc_info=failures[0])
        return LinkLost(f"{address.url}: no websocket server answers there")
    match rejected.status_code:
        case 401:
            why = "the server does not know this render's token" if token else "no token given"
            return LinkRefused("unauthorized", f"{address.url}: {why}")
        case 403:
            # A gateway or farm answers 403 to an Origin header alone, which an agent does not
            # send, so a proxy on the way is the likely source.
            return LinkRefused("forbidden", f"{address.url}: access denied (HTTP 403)")
        case 421:
            return LinkRefused("host", f'"{address.host}" is not a name of the server')
        case 426:
            return LinkRefused("version", f"{address.url} does not speak {SUBPROTOCOL}")
        case 503:
            return LinkLost(f"{address.url}: the server is full or starting (HTTP 503)")
        case status if status >= 500 or status in (408, 425, 429):
            return LinkLost(f"{address.url}: HTTP {status}")
        case status:
            return LinkRefused(f"http-{status}", f"{address.url}: no farm server answers there")
