"""Interfaces of the two ends of a link, which carries typed messages over one connection.

`Link` is the render's end, `ServerLink` the server's end. `websocket_client` and
`websocket_server` implement them for the websocket; `afserver.render_link` implements `Link` for
Afanasy's own protocol.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias

from trio_afrender.protocol.messages import (
    Ack,
    Events,
    FromRender,
    FromServer,
    Refused,
    Register,
    Registered,
    Update,
)

__all__ = ("Connect", "Link", "ServerLink")


class Link(Protocol):
    """The render's end. At any moment one task may send and one may receive, not more.

    Every method raises `LinkLost` if the connection is gone and `ProtocolError` if the server
    violates the protocol. The `Connect` context that opened the link closes it.
    """

    async def register(self, register: Register) -> Registered | Refused:
        """Register this render and wait for the answer. The first call on every link."""
        ...

    async def send(self, update: Update) -> None:
        """Send one update. If the call is cancelled before it returns, the link is lost."""
        ...

    async def receive(self) -> Events | Ack:
        """Wait for the next message. Messages of an unknown type are logged once and skipped."""
        ...

    async def deregister(self, reason: str) -> None:
        """Tell the server that this render leaves. Nothing may be sent after it."""
        ...


Connect: TypeAlias = Callable[[], AbstractAsyncContextManager[Link]]
"""Opens a new link; leaving the context closes it.

Entering raises `LinkLost` if there is no answer and `LinkRefused` if the server rejects this render
(no token, an unknown token). Exceptions of the body leave the context as they are, in no group.
"""


class ServerLink(Protocol):
    """The server's end of the connection of one render, after authentication."""

    peer: str
    """The address that the render connects from, for logs."""

    def can_register(self, name: str) -> bool:
        """Return whether the token of this connection is valid for a render name."""
        ...

    async def receive(self) -> FromRender:
        """Wait for the next message.

        Raises `LinkLost` at the end of the connection and `ProtocolError` for a message that cannot
        be decoded.
        """
        ...

    async def send(self, message: FromServer) -> None:
        """Send one message. Raises `LinkLost`."""
        ...

    async def aclose(self) -> None:
        """Close the connection. Both ends raise `LinkLost` from then on."""
        ...
