"""The port of the JSON interface: connections, their limits, and who may ask.

Anybody who can ask can have commands run here, so only loopback addresses are served, and only the
user who runs the farm, unless a request has the farm's token.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import trio

from trio_afrender.async_helpers import open_bare_nursery
from trio_afrender.config.settings import Token
from trio_afrender.errors import ConfigError
from trio_afrender.farm.farm import Farm
from trio_afrender.farm.json_interface.answers import (
    Answer,
    BinaryAnswer,
    EncodedAnswer,
    encode_json,
    info,
)
from trio_afrender.farm.json_interface.asker import Asker
from trio_afrender.farm.json_interface.http_head import HttpHead, HttpRefused, find_foreign
from trio_afrender.farm.json_interface.request_body import BadJson, parse_root, text_at
from trio_afrender.farm.json_interface.request_reader import (
    FramedRequest,
    RequestReader,
    RequestRefused,
    frame_answer,
)
from trio_afrender.farm.json_interface.root_requests import RootRequests
from trio_afrender.tasklog.io_threads import call_in_thread
from trio_afrender.transport.address import is_loopback, make_url
from trio_afrender.transport.bound_port import open_listeners
from trio_afrender.transport.socket_owner import Address, OwnerCheck, make_owner_check
from trio_afrender.transport.waiting_listener import WaitingListener
from trio_afrender.transport.websocket_server import BoundAddress

__all__ = (
    "MAX_CONNECTIONS",
    "TIMEOUT",
    "JsonServer",
    "keep_requests",
    "open_requests",
    "serve_json",
)

_log = logging.getLogger(__name__)

MAX_CONNECTIONS = 64
"""Connections at once. Further ones wait in the kernel's queue."""
MAX_FOREIGN = 8
"""Of these, connections of other users of this machine. Further ones are closed at once."""
TIMEOUT = 12.0
"""Seconds in which a request has to arrive, and in which the client has to take the answer."""
_MAX_FOREIGN_BODY = 16 * 1024 * 1024
"""Bytes of a request whose sender has yet to show the token."""
_THREADS = 4
"""Look-ups of owners at once; likewise large requests that are parsed."""
_LARGE = 256 * 1024
"""Bytes of a request that is parsed in a thread."""
_REFUSED = (
    "this farm belongs to another user of this machine: give its token, as"
    ' "Authorization: Bearer TOKEN" in HTTP or as the key "token" beside the request'
)


@asynccontextmanager
async def open_requests(farm: Farm, gui_folder: Path | None = None) -> AsyncIterator[RootRequests]:
    """Answer requests to a farm, from the port and from within this process. Once at a time.

    `gui_folder` is a studio's CGRU folder, whose browser page is served.
    """
    async with open_bare_nursery() as nursery:
        requests = RootRequests(farm, nursery, gui_folder)
        nursery.start_soon(requests.registry.run_clock)
        try:
            yield requests
        finally:
            requests.registry.drop_all()


async def keep_requests(
    farm: Farm, *, task_status: trio.TaskStatus[RootRequests] = trio.TASK_STATUS_IGNORED
) -> None:
    """Answer requests from within this process until cancelled. Once at a time for a farm."""
    async with open_requests(farm) as requests:
        task_status.started(requests)
        await trio.sleep_forever()


async def serve_json(
    requests: RootRequests,
    host: str,
    port: int,
    *,
    token: Token,
    task_status: trio.TaskStatus[BoundAddress] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve Afanasy's JSON interface until cancelled.

    Raises `ConfigError` for an address that is not loopback and for a port that cannot be bound.
    """
    if not is_loopback(host):
        raise ConfigError(
            f'cannot serve JSON on "{host}": who reaches the port can run commands here, so only'
            " loopback addresses are allowed, such as 127.0.0.1"
        )
    listeners = await open_listeners(host, port, "cannot serve JSON on")
    if port == 0:
        port = listeners[0].socket.getsockname()[1]
    url = make_url(host, port, tls=False, scheme="http")
    server = JsonServer(requests, token, make_owner_check(_THREADS))
    places = trio.Semaphore(MAX_CONNECTIONS)
    limited = [
        _LimitedListener(WaitingListener(each, "JSON clients"), places) for each in listeners
    ]

    async def serve(stream: trio.SocketStream) -> None:
        try:
            await server.serve(stream)
        finally:
            places.release()

    async with open_bare_nursery() as nursery:
        task_status.started(BoundAddress(url=url, host=host, port=port))
        await trio.serve_listeners(serve, limited, handler_nursery=nursery)


class _LimitedListener(trio.abc.Listener[trio.SocketStream]):
    """A listener that accepts a connection only when there is a place for it."""

    def __init__(
        self, listener: WaitingListener[trio.SocketStream], places: trio.Semaphore
    ) -> None:
        self._listener = listener
        self._places = places

    async def accept(self) -> trio.SocketStream:
        await self._places.acquire()
        try:
            return await self._listener.accept()
        except BaseException:
            self._places.release()
            raise

    async def aclose(self) -> None:
        await self._listener.aclose()


@attrs.define(slots=True, eq=False)
class JsonServer:
    """Serves connections, each with one request."""

    requests: RootRequests
    token: Token
    is_own: OwnerCheck
    foreign: int = 0
    """Connections of other users."""
    _parsing: trio.CapacityLimiter = attrs.field(
        factory=lambda: trio.CapacityLimiter(_THREADS), init=False
    )

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve a TCP connection, then close it. Raises only `Cancelled`."""
        try:
            peer = stream.socket.getpeername()[:2]
            local = stream.socket.getsockname()[:2]
        except OSError:  # the client has gone already
            await trio.aclose_forcefully(stream)
            return
        await self.serve_stream(stream, peer, local)

    async def serve_stream(
        self, stream: trio.abc.HalfCloseableStream, peer: Address, local: Address
    ) -> None:
        """Serve a connection whose ends are known, then close it. Raises only `Cancelled`."""
        try:
            async with stream:
                if await self.is_own(peer, local):
                    await self._exchange(stream, Asker(address=peer[0], admin=True))
                elif self.foreign < MAX_FOREIGN:
                    self.foreign += 1
                    try:
                        await self._exchange(stream, Asker(address=peer[0]))
                    finally:
                        self.foreign -= 1
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            _log.debug("JSON client at %s: connection lost", peer)
        except Exception:  # noqa: BLE001 - one connection must not end the others
            _log.exception("JSON client at %s: connection failed", peer)

    async def _exchange(self, stream: trio.abc.HalfCloseableStream, asker: Asker) -> None:
        reader = RequestReader() if asker.admin else RequestReader(limit=_MAX_FOREIGN_BODY)
        request = None
        try:
            with trio.move_on_after(TIMEOUT):
                while request is None and (data := await stream.receive_some()):
                    request = reader.feed(data)
            answer = await self._answer(request, asker) if request else b""
        except RequestRefused as refusal:
            _log.info("JSON client at %s: %s", asker.address, refusal)
            answer = refusal.answer
        if not answer:
            return
        with trio.move_on_after(TIMEOUT):
            await stream.send_all(answer)
            await stream.send_eof()
            # A close while bytes of the client are unread would reset the connection, and the
            # client might lose the answer.
            while await stream.receive_some():
                pass

    async def _answer(self, request: FramedRequest, asker: Asker) -> bytes:
        """The bytes of the answer; empty for a request that has none."""
        try:
            if request.head is not None:
                return await self._answer_http(request, request.head, asker)
            root = await self._parse(request.body)
            answer: Answer | BinaryAnswer | EncodedAnswer | None
            if not (asker.admin or self._knows_token(text_at(root, "token"))):
                return frame_answer(request.kind, encode_json(info("error", _REFUSED)))
            answer = await self.requests.answer(root, asker)
        except BadJson as error:
            answer = info("error", str(error))
        except HttpRefused as refusal:
            # A page of another site, or another user, is worth a line; a missing file is not.
            level = logging.WARNING if refusal.status in (401, 403) else logging.DEBUG
            _log.log(
                level, "JSON client at %s: HTTP %d: %s", asker.address, refusal.status, refusal
            )
            return refusal.answer().encode()
        return _frame(request, answer)

    async def _answer_http(self, request: FramedRequest, head: HttpHead, asker: Asker) -> bytes:
        """The bytes of the answer. Raises `HttpRefused` and `BadJson`."""
        if why := find_foreign(head):
            raise HttpRefused(403, f"refused: {why}")
        scheme, _, secret = head.headers.get("authorization", "").partition(" ")
        bearer = secret.strip() if scheme.lower() == "bearer" else ""
        allowed = asker.admin or self._knows_token(bearer)
        if head.method == "GET":
            if not allowed:
                raise HttpRefused(401, _REFUSED)
            return (await self.requests.serve_file(head.target)).encode()
        root = await self._parse(request.body)
        if not (allowed or self._knows_token(text_at(root, "token"))):
            raise HttpRefused(401, _REFUSED)
        answer = await self.requests.answer(root, asker)
        if isinstance(answer, BinaryAnswer):
            raise HttpRefused(400, '"binary" is for clients that do not speak HTTP')
        return _frame(request, answer)

    async def _parse(self, body: bytes) -> dict[str, object]:
        """Parse the JSON of a request. Raises `BadJson`."""
        if len(body) < _LARGE:
            await trio.lowlevel.checkpoint()
            return parse_root(body)
        try:
            return await call_in_thread(partial(parse_root, body), limiter=self._parsing)
        except OSError as error:
            raise BadJson(f"it cannot be read now: {error.strerror or error}") from None

    def _knows_token(self, secret: str) -> bool:
        digests = [
            hashlib.sha256(each.encode("utf-8", "surrogatepass")).digest()
            for each in (secret, self.token.secret)
        ]
        return hmac.compare_digest(*digests)


def _frame(request: FramedRequest, answer: Answer | BinaryAnswer | EncodedAnswer | None) -> bytes:
    if answer is None:
        return b""
    if isinstance(answer, BinaryAnswer):
        return answer.data
    return frame_answer(request.kind, encode_json(answer))
