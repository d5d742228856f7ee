"""What can be asked of an Afanasy server, one question after the other, and what its answers are."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import trio

from trio_afrender.afserver.client import AnswerLost, Dialer
from trio_afrender.afserver.link_state import LinkState
from trio_afrender.afserver.server_view import (
    ServerView,
    ask_by_id,
    ask_by_name,
    find,
    make_action,
    read_server_view,
)
from trio_afrender.errors import LinkLost, LinkRefused, ProtocolError
from trio_afrender.protocol.afanasy import (
    VERSION,
    Json,
    Message,
    RenderDeregister,
    RenderEvents,
    RenderId,
    RenderRegister,
    RenderUpdate,
    VersionMismatch,
    encode,
)
from trio_afrender.protocol.afanasy.clamp import encode_fitted
from trio_afrender.transport.websocket_connection import printable

__all__ = ("AfserverRequests",)

_log = logging.getLogger(__name__)

SERVER_CYCLE = 1.5
"""Seconds in which a server surely has taken its turn (it takes one a second): what it answered
before is not looked at earlier, nor does it show in what it says of its tasks."""


class AfserverRequests:
    """One render's questions to its server. Each method is one exchange or several, and raises
    `LinkLost`, `LinkRefused` (another version of the protocol) and `ProtocolError`."""

    def __init__(self, dialer: Dialer, memory: LinkState) -> None:
        self.url = dialer.address.url
        self._dialer = dialer
        self._memory = memory

    async def send_update(self, message: RenderRegister | RenderUpdate) -> RenderEvents | RenderId:
        """Say something that changes what the server knows. Until it answers, that is in doubt."""
        try:
            answer = await self._ask(encode_fitted(message))
        except LinkLost as error:
            if isinstance(error, AnswerLost):  # else it did not even go out
                self._memory.unconfirmed_since = trio.current_time()
            raise
        except BaseException:
            self._memory.unconfirmed_since = trio.current_time()
            raise
        if not isinstance(answer, RenderEvents | RenderId):
            raise ProtocolError(f"{self.url}: {_describe(answer)}")
        return answer

    async def settle(self) -> None:
        """Wait until the server has looked at what it may have got without our hearing of it."""
        if self._memory.unconfirmed_since is not None:
            await trio.sleep_until(self._memory.unconfirmed_since + SERVER_CYCLE)

    async def server_view(self, number: int, name: str) -> ServerView | None:
        """What the server says of the render `name`, asked for by its id if it has one.

        None when it knows none; raises `ProtocolError` when the answer says nothing of renders.
        """
        for question in ((ask_by_id(number),) if number else ()) + (ask_by_name(name),):
            answer = await self._ask(encode(question))
            beliefs = read_server_view(answer.body) if isinstance(answer, Json) else None
            if beliefs is None:
                raise ProtocolError(f"{self.url}: asked for renders: {_describe(answer)}")
            if (belief := find(beliefs, name)) is not None:
                return belief
        return None

    async def act(self, number: int, params: Mapping[str, Any], *, user: str, host: str) -> None:
        """Change settings of the render `number`; the server answers with its next turn."""
        answer = await self._ask(encode(make_action(number, params, user=user, host=host)))
        if isinstance(answer, Json) and b'"kind":"error"' in answer.body:
            _log.warning("%s: asked for %s: %s", self.url, dict(params), _describe(answer))

    async def deregister(self, number: int) -> None:
        """Leave; the answer says the same whether the server knew us or not."""
        await self._ask(encode(RenderDeregister(id=number)))

    async def _ask(self, request: bytes) -> Message:
        answer = await self._dialer.ask(request)
        if isinstance(answer, VersionMismatch):
            raise LinkRefused(
                "version",
                f"{self.url} speaks version {answer.version} of the protocol, this render {VERSION}",
            )
        return answer


def _describe(answer: Message) -> str:
    if isinstance(answer, Json):
        return f"the server says {printable(answer.body.decode('utf-8', 'replace'))}"
    return f"the server answers with {type(answer).__name__}"
