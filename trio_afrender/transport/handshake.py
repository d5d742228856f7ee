"""Who may come in: the judgement over a request, before the upgrade, from its headers alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import attrs

from trio_afrender.config.settings import Token
from trio_afrender.protocol.json_codec import SUBPROTOCOL
from trio_afrender.transport.address import is_loopback, split_host
from trio_afrender.transport.tokens import TokenTable

__all__ = ("HandshakeRejected", "UpgradeRequest", "check_handshake")

Headers = Sequence[tuple[bytes, bytes]]


@attrs.frozen(slots=True, kw_only=True)
class UpgradeRequest:
    """What a client shows at the door."""

    host: str
    """Its ``Host`` header."""
    headers: Headers
    """The others, names in lower case."""
    subprotocols: Collection[str]
    local: str = ""
    """The address of ours that it reached."""


class HandshakeRejected(Exception):
    """Not admitted. `why` is for our own log: the client only gets status and headers."""

    def __init__(self, status: int, why: str, headers: Headers = ()) -> None:
        super().__init__(f"HTTP {status}: {why}")
        self.status = status
        self.headers = headers


def check_handshake(
    knock: UpgradeRequest, *, tokens: TokenTable, names: Collection[str]
) -> tuple[str, ...]:
    """The patterns of render names that this client may use. Raises TurnedAway.

    An agent sends no ``Origin``; a browser always does, whatever page it shows, so a page on an
    artist's desk never gets to the token. A ``Host`` that we do not go by is how a name of
    somebody else's gets pointed at us. A missing and a wrong token are answered alike.
    """
    fields = [name for name, _ in knock.headers]
    if b"origin" in fields:
        raise HandshakeRejected(403, "an Origin header: a browser, not an agent")
    host = split_host(knock.host)
    if not is_loopback(host) and host not in names and host != knock.local:
        raise HandshakeRejected(421, f"asked for host {knock.host[:100]!r}, a name we do not go by")
    patterns = tokens.names_for(_find_token(knock.headers))
    if not patterns:
        why = "an unknown token" if b"authorization" in fields else "no token"
        raise HandshakeRejected(401, why, ((b"WWW-Authenticate", b"Bearer"),))
    if SUBPROTOCOL not in knock.subprotocols:
        raise HandshakeRejected(
            426,
            f"does not offer {SUBPROTOCOL}",
            ((b"Sec-WebSocket-Protocol", SUBPROTOCOL.encode("ascii")),),
        )
    return patterns


def _find_token(headers: Headers) -> Token:
    """The bearer token; without exactly one an empty one, which takes as long to be refused."""
    values = [value for name, value in headers if name == b"authorization"]
    if len(values) != 1:
        return Token("")
    scheme, _, secret = values[0].partition(b" ")
    if scheme.lower() != b"bearer":
        return Token("")
    return Token(secret.strip().decode("latin-1"))
