"""All requests of a render to its afserver, one method each, with the checks of their answers."""

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
from trio_afrender.text import printable

__all__ = ("AfserverRequests",)

_log = logging.getLogger(__name__)

SERVER_CYCLE = 1.5
"""Seconds in which the server completes a cycle for certain (it runs one a second). It processes an
update in the cycle after it has answered, and only then its JSON lists show the update."""


class AfserverRequests:
    """The requests of one render. Each method makes one or more exchanges and raises `LinkLost`,
    `LinkRefused` (another version of the protocol) and `ProtocolError`."""

    def __init__(self, dialer: Dialer, state: LinkState) -> None:
        self.url: str = dialer.address.url
        self._dialer = dialer
        self._state = state

    async def send_update(self, message: RenderRegister | RenderUpdate) -> RenderEvents | RenderId:
        """Send a register or an update.

        If no answer arrives, `LinkState.unconfirmed_since` records that the server may have it.
        """
        try:
            answer = await self._ask(encode_fitted(message))
        except LinkLost as error:
            # A plain LinkLost means that the request was not sent.
            if isinstance(error, AnswerLost):
                self._state.unconfirmed_since = trio.current_time()
            raise
        except BaseException:
            self._state.unconfirmed_since = trio.current_time()
            raise
        if not isinstance(answer, RenderEvents | RenderId):
            raise ProtocolError(f"{self.url}: {_describe(answer)}")
        return answer

    async def settle(self) -> None:
        """Wait until the server has processed a request whose answer was lost."""
        if self._state.unconfirmed_since is not None:
            await trio.sleep_until(self._state.unconfirmed_since + SERVER_CYCLE)

    async def server_view(self, number: int, name: str) -> ServerView | None:
        """Ask for the render `name`: by its id `number` unless that is 0, then by its name.

        Returns None if the server does not have it. Raises `ProtocolError` if the answer is no list
        of renders.
        """
        # The id comes first, because the answer to a name lists every render whose name contains
        # it. The id alone is not enough: a server that lost its store may have given it to another
        # render.
        for question in ((ask_by_id(number),) if number else ()) + (ask_by_name(name),):
            answer = await self._ask(encode(question))
            views = read_server_view(answer.body) if isinstance(answer, Json) else None
            if views is None:
                raise ProtocolError(f"{self.url}: asked for renders: {_describe(answer)}")
            if (view := find(views, name)) is not None:
                return view
        return None

    async def act(self, number: int, params: Mapping[str, Any], *, user: str, host: str) -> bool:
        """Change settings of the render `number`; return whether the server has not refused it.

        The answer takes up to one server cycle.
        """
        answer = await self._ask(encode(make_action(number, params, user=user, host=host)))
        # A refused action is not worth the link: tasks run as before.
        refused = isinstance(answer, Json) and b'"kind":"error"' in answer.body
        if refused:
            _log.warning("%s: asked for %s: %s", self.url, dict(params), _describe(answer))
        return not refused

    async def deregister(self, number: int) -> None:
        """Deregister the render `number`. The answer takes up to one server cycle."""
        # The answer is text, an error if the server does not have the render. Either way the render
        # is offline, so the text is not looked at.
        await self._ask(encode(RenderDeregister(id=number)))

    async def _ask(self, request: bytes) -> Message:
        answer = await self._dialer.ask(request)
        # The server ignores the body of a message of another version and answers with its own
        # version. Repeating the message cannot help.
        if isinstance(answer, VersionMismatch):
            raise LinkRefused(
                "version",
                f"{self.url} speaks version {answer.version} of the protocol, this render {VERSION}",
            )
        return answer


def _describe(answer: Message) -> str:
    if isinstance(answer, Json):
        return f"the server answers {printable(answer.body.decode('utf-8', 'replace'))}"
    return f"the server answers with {type(answer).__name__}"
