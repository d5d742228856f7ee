"""The two ends of a link: typed messages over one open connection, whatever the bytes are.

`Link` is the render's end, `ServerLink` the server's. Implementations: `link.websocket` (both
ends). Anything that can hand out one of these can be a farm or an agent's only server.
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
    """The render's end. One task may send while another receives, never two at either.

    Every method raises `LinkLost` when the connection is gone and `ProtocolError` when the
    server spoke nonsense. Whoever opened the link closes it.
    """

    async def register(self, register: Register) -> Registered | Refused:
        """Say who we are and wait for the answer. First call on every link."""
        ...

    async def send(self, update: Update) -> None:
        """Hand one update to the connection. Cancelled half way, the link is lost."""
        ...

    async def receive(self) -> Events | Ack:
        """Wait for the next message; messages of unknown type are logged once and skipped."""
        ...

    async def deregister(self, reason: str) -> None:
        """Say goodbye; nothing may be sent after it."""
        ...


Connect: TypeAlias = Callable[[], AbstractAsyncContextManager[Link]]
"""Opens a fresh link; leaving the context closes it.

Entering raises `LinkLost` when nobody answers and `LinkRefused` when the server will not have
us (no token, wrong token). Errors of the body come out bare.
"""


class ServerLink(Protocol):
    """The server's end of one render's connection, past authentication."""

    peer: str
    """Where the render connects from, for logs."""

    def can_register(self, name: str) -> bool:
        """Whether the token that opened this link may use that render name."""
        ...

    async def receive(self) -> FromRender:
        """Wait for the next message. Raises `LinkLost` at the end, `ProtocolError` on nonsense."""
        ...

    async def send(self, message: FromServer) -> None:
        """Hand one message to the connection. Raises `LinkLost`."""
        ...

    async def aclose(self) -> None:
        """Close the connection; both ends then raise `LinkLost`."""
        ...
