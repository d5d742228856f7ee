"""The server's end of a websocket: listen, check each request, run a handler for each link.

A misbehaving client ends its own connection and no other.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeAlias

import attrs
import trio
from trio_websocket import WebSocketConnection, WebSocketRequest, wrap_server_stream

from trio_afrender.async_helpers import flatten, open_bare_nursery
from trio_afrender.errors import LinkLost, ProtocolError
from trio_afrender.protocol.json_codec import MAX_FRAME, SUBPROTOCOL, decode_from_render, encode
from trio_afrender.protocol.messages import FromRender, FromServer
from trio_afrender.text import printable
from trio_afrender.transport.address import make_url
from trio_afrender.transport.bound_port import open_listeners
from trio_afrender.transport.connection_seats import ConnectionSeats, address_group, host_of
from trio_afrender.transport.decoding_budget import DecodingBudget
from trio_afrender.transport.fair_gate import FairGate
from trio_afrender.transport.handshake import (
    RETRY_LATER,
    HandshakeRejected,
    UpgradeRequest,
    check_handshake,
)
from trio_afrender.transport.liveness_stream import LivenessStream
from trio_afrender.transport.repeated_lines import RepeatedLines
from trio_afrender.transport.tls import explain_tls
from trio_afrender.transport.tokens import TokenGrant, TokenTable, may_use
from trio_afrender.transport.value_limit import check_value_count
from trio_afrender.transport.waiting_listener import WaitingListener
from trio_afrender.transport.websocket_connection import (
    MAX_FRAGMENT_BACKLOG,
    MAX_QUEUED_FRAMES,
    RECEIVE_SIZE,
    Connection,
)

__all__ = (
    "BoundAddress",
    "ConnectionCounts",
    "Handler",
    "WebSocketServerLink",
    "serve_websocket",
)

_Opened: TypeAlias = tuple[WebSocketConnection, trio.CancelScope, TokenGrant]
"""A websocket, the scope of its reader task, and what its token is valid for."""

MAX_HANDSHAKES, MAX_HANDSHAKES_OF_ONE = 512, 256
"""Concurrent handshakes in total, and of one address; see `ConnectionSeats`. A whole farm may have one
address, and its agents reconnect at once."""
MAX_LARGE, MAX_LARGE_OF_ONE = 16, 4
"""Connections that may read a message of more than 64 KiB at once: in total, and of one token."""
LATE = ("late handshakes", "%s: no handshake within %g s")
DISPLACED = ("displaced handshakes", "%s: no handshake before newer connections came")
_GOING_AWAY, _BROKEN, _TRY_AGAIN = 1001, 1011, 1013
_MAX_REASON = 120
"""Bytes of a close frame's reason; the protocol allows 123."""

_log = logging.getLogger(__name__)


@attrs.frozen(slots=True, kw_only=True)
class BoundAddress:
    """The address that a server listens on."""

    url: str
    """The URL for clients on this host."""
    host: str
    port: int


@attrs.define(eq=False)
class ConnectionCounts:
    """Counts of a server's connections since its start."""

    handshakes_displaced: float = 0
    """Connections that were closed in their handshake for newer ones."""
    sessions_rejected: float = 0
    """Clients with a valid token that were rejected, because there were enough."""
    large_messages_waited: float = 0
    """Messages of more than 64 KiB that waited until others were read."""
    decoding_waited: float = 0
    """Messages that waited because those of their token took long to decode."""


class WebSocketServerLink:
    """A `ServerLink` over an open websocket."""

    def __init__(self, connection: Connection, peer: str, grant: TokenGrant) -> None:
        self.peer = peer
        self.connection = connection
        self.grant = grant

    def can_register(self, name: str) -> bool:
        return may_use(self.grant.patterns, name)

    async def receive(self) -> FromRender:
        return await self.connection.receive(_decode)

    async def send(self, message: FromServer) -> None:
        await self.connection.send(encode(message))

    async def aclose(self) -> None:
        await self.connection.close()

    async def send_away(self, reason: str) -> None:
        """Close with code 1013 and a reason; the render reconnects later."""
        text = printable(reason, _MAX_REASON).encode("ascii", "replace").decode("ascii")
        await self.connection.close(_TRY_AGAIN, text)


def _decode(frame: str) -> FromRender:
    check_value_count(frame)
    return decode_from_render(frame)


Handler: TypeAlias = Callable[[WebSocketServerLink], Awaitable[None]]
"""Runs one session. Most handlers accept any `ServerLink`."""


async def serve_websocket(
    handler: Handler,
    *,
    tokens: TokenTable,
    host: str = "127.0.0.1",
    port: int = 0,
    ssl_context: ssl.SSLContext | None = None,
    names: Collection[str] = (),
    max_agents: int = 10_000,
    max_agents_per_token: int | None = None,
    keepalive: float = 16.0,
    handshake: float = 10.0,
    listeners: Sequence[trio.abc.Listener[trio.abc.Stream]] | None = None,
    counts: ConnectionCounts | None = None,
    task_status: trio.TaskStatus[BoundAddress] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; `handler` runs once for each accepted connection.

    A client is accepted if its handshake ends within `handshake` seconds, it has a token of the
    table and no ``Origin`` header, its ``Host`` header is `host`, one of `names`, the address that
    it connected to or loopback, and fewer than `max_agents` clients are connected,
    `max_agents_per_token` of its token (default: no such limit). Its link is closed when the
    handler returns. An exception of a handler ends its connection and is logged:
    `LinkLost` and `ProtocolError` as one line, others with a traceback. Raises `ConfigError` if the
    port cannot be bound.
    """
    tls = ssl_context if listeners is None else None
    if listeners is None:
        listeners = await open_listeners(host, port)
    first = listeners[0]
    if isinstance(first, trio.SocketListener):
        port = first.socket.getsockname()[1]
    url = make_url(host, port, tls=ssl_context is not None)
    own_names = frozenset(name.lower() for name in (*names, host) if name)
    of_token = max_agents if max_agents_per_token is None else max_agents_per_token
    server = _Server(
        handler=handler,
        tokens=tokens,
        names=own_names,
        max_agents=max_agents,
        max_agents_per_token=of_token,
        keepalive=keepalive,
        handshake=handshake,
        tls=tls,
        counts=counts or ConnectionCounts(),
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.lines.run)
        waiting = [WaitingListener(each, "agents") for each in listeners]
        await nursery.start(trio.serve_listeners, server.serve, waiting)
        task_status.started(BoundAddress(url=url, host=host, port=port))


@attrs.define(slots=True, kw_only=True)
class _Server:
    handler: Handler
    tokens: TokenTable
    names: Collection[str]
    max_agents: int
    max_agents_per_token: int
    keepalive: float
    handshake: float
    tls: ssl.SSLContext | None
    counts: ConnectionCounts
    agents: Counter[bytes] = attrs.field(factory=Counter)
    """The connected clients of each token."""
    budgets: dict[bytes, DecodingBudget] = attrs.field(factory=dict)
    """Of the tokens that have connected clients."""
    large: FairGate = attrs.field(init=False)
    """The seats for large messages."""
    seats: ConnectionSeats = attrs.field(
        factory=lambda: ConnectionSeats(MAX_HANDSHAKES, MAX_HANDSHAKES_OF_ONE)
    )
    lines: RepeatedLines = attrs.field(factory=lambda: RepeatedLines(_log, trio.current_time))

    def __attrs_post_init__(self) -> None:
        self.large = FairGate(MAX_LARGE, MAX_LARGE_OF_ONE, count_wait=self._count_wait)

    def _count_wait(self) -> None:
        self.counts.large_messages_waited += 1

    def _count_decoding(self) -> None:
        self.counts.decoding_waited += 1

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Serve one connection from the accept to the close. Raises only `Cancelled`."""
        peer, local = _describe_ends(stream)
        until = trio.current_time() + self.handshake
        try:
            # Before anything is made for it: of half-open connections there may be thousands.
            if isinstance(stream, trio.SocketStream):
                if not await self._wait_first_byte(stream, peer, until):
                    return
                if self.tls is not None:
                    stream = trio.SSLStream(
                        stream, self.tls, server_side=True, https_compatible=True
                    )
            async with open_bare_nursery() as nursery:
                liveness = LivenessStream(stream, backlog=MAX_FRAGMENT_BACKLOG)
                opened = await self._open(nursery, stream, liveness, peer, local, until)
                if opened is not None:
                    ws, reader_scope, grant = opened
                    budget = self.budgets[grant.digest]
                    connection = Connection(ws, reader_scope, stream, liveness, peer, budget)
                    nursery.start_soon(connection.keep_alive, self.keepalive)
                    await self._handle(WebSocketServerLink(connection, peer, grant))
        except Exception:  # noqa: BLE001 - one connection must not end the others
            _log.exception("%s: connection failed", peer)
        finally:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)

    async def _wait_first_byte(self, stream: trio.SocketStream, peer: str, until: float) -> bool:
        """Wait until a client has sent anything; False if it does not in time, or is displaced."""
        host = host_of(peer)
        waiting = trio.CancelScope(deadline=until)
        data = None
        with self.seats.take(host, waiting.cancel), waiting, suppress(OSError):
            data = await stream.socket.recv(1, socket.MSG_PEEK)
        if data:
            return True
        info, warn = self._loggers(host)
        if not waiting.cancelled_caught:
            info("failed handshakes", "%s: closed before its handshake", peer)
        elif trio.current_time() >= until:
            info(*LATE, peer, self.handshake)
        else:
            self.counts.handshakes_displaced += 1
            warn(*DISPLACED, peer)
        return False

    def _loggers(self, host: str) -> tuple[Callable[..., None], Callable[..., None]]:
        """Return what logs lines that a client causes, as information and as warnings."""
        source = address_group(host)
        return (
            partial(self.lines.log, logging.INFO, source),
            partial(self.lines.log, logging.WARNING, source),
        )

    async def _open(
        self,
        nursery: trio.Nursery,
        stream: trio.abc.Stream,
        liveness: LivenessStream,
        peer: str,
        local: str,
        until: float,
    ) -> _Opened | None:
        """Do the handshakes of one client; None if it fails, is rejected or takes too long."""
        host = host_of(peer)
        info, warn = self._loggers(host)
        # The seat is left before the session: only handshakes are counted.
        displacing = trio.CancelScope()
        try:
            with self.seats.take(host, displacing.cancel), displacing:
                with trio.fail_at(until):
                    if isinstance(stream, trio.SSLStream):
                        await stream.do_handshake()
                    opened: _Opened = await nursery.start(self._handshake, stream, liveness, local)
                    return opened
        except trio.TooSlowError:
            info(*LATE, peer, self.handshake)
        except trio.BrokenResourceError as error:
            info("failed TLS handshakes", "%s: %s", peer, explain_tls(error.__cause__))
        except HandshakeRejected as refusal:
            warn("rejected handshakes", "%s: rejected, %s", peer, refusal)
        except LinkLost as error:
            info("failed handshakes", "%s: %s", peer, error)
        if displacing.cancelled_caught:
            self.counts.handshakes_displaced += 1
            warn(*DISPLACED, peer)
        return None

    async def _handshake(
        self,
        stream: trio.abc.Stream,
        liveness: LivenessStream,
        local: str,
        *,
        task_status: trio.TaskStatus[_Opened],
    ) -> None:
        """Do the websocket handshake, then hold the nursery of the library's reader until it ends."""
        failures: list[Exception] = []
        grant: TokenGrant | None = None
        try:
            async with trio.open_nursery() as nursery:
                request = await wrap_server_stream(
                    nursery, liveness, MAX_QUEUED_FRAMES, MAX_FRAME, RECEIVE_SIZE
                )
                grant = await self._check_request(request, local)
                liveness.seats = self.large.for_key(grant.digest)
                ws = await request.accept(subprotocol=SUBPROTOCOL)
                liveness.opened = True
                task_status.started((ws, nursery.cancel_scope, grant))
        except* Exception as group:  # noqa: BLE001 - any failure of the library only ends this link
            failures.extend(flatten(group))
        finally:
            liveness.leave_seat()
            if grant is not None:
                self._count_client(grant, -1)
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)
        if liveness.opened:
            if failures:
                _log.debug("a websocket's reader ended", exc_info=failures[0])
            return
        for failure in failures:
            if isinstance(failure, HandshakeRejected):
                raise failure
        raise LinkLost(f"no handshake: {printable(str(failures[0]) or repr(failures[0]))}")

    async def _check_request(self, request: WebSocketRequest, local: str) -> TokenGrant:
        """Check a request and count its client, or send the rejection and raise it."""
        upgrade = UpgradeRequest(
            host=request._event.host,  # noqa: SLF001 - the library hides this one header
            headers=request.headers,
            subprotocols=request.proposed_subprotocols,
            local=local,
        )
        try:
            full = self.agents.total() >= self.max_agents
            grant = check_handshake(upgrade, tokens=self.tokens, names=self.names, full=full)
            self._check_share(grant)
        except HandshakeRejected as refusal:
            self.counts.sessions_rejected += refusal.status == 503
            await request.reject(refusal.status, extra_headers=list(refusal.headers))
            raise
        self._count_client(grant, 1)
        return grant

    def _check_share(self, grant: TokenGrant) -> None:
        if self.agents[grant.digest] >= self.max_agents_per_token:
            why = f"its token has {self.max_agents_per_token} connections"
            raise HandshakeRejected(503, why, RETRY_LATER)

    def _count_client(self, grant: TokenGrant, change: int) -> None:
        self.agents[grant.digest] += change
        if not self.agents[grant.digest]:
            del self.agents[grant.digest], self.budgets[grant.digest]
        elif grant.digest not in self.budgets:
            self.budgets[grant.digest] = DecodingBudget(self._count_decoding)

    async def _handle(self, link: WebSocketServerLink) -> None:
        code = _GOING_AWAY
        try:
            await self.handler(link)
            code = 1000
        except* (LinkLost, ProtocolError) as group:
            source = address_group(host_of(link.peer))
            self.lines.log(logging.INFO, source, "ended sessions", "%s", flatten(group)[0])
        except* Exception:  # noqa: BLE001 - a bug of the handler ends its session and is logged
            code = _BROKEN
            _log.exception("%s: the session failed", link.peer)
        finally:
            await link.connection.close(code)


def _describe_ends(stream: trio.abc.Stream) -> tuple[str, str]:
    """Return the peer's address, for logs, and the local address that it connected to."""
    transport = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    if not isinstance(transport, trio.SocketStream):
        return "memory", ""
    try:
        host, port = transport.socket.getpeername()[:2]
        local = transport.socket.getsockname()[0]
    except OSError:  # The peer has hung up already.
        return "gone", ""
    return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}"), local
