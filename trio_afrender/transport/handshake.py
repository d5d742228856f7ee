"""Accept or reject a websocket upgrade request by its headers alone. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import attrs

from trio_afrender.config.settings import Token
from trio_afrender.protocol.json_codec import SUBPROTOCOL
from trio_afrender.transport.address import is_loopback, split_host
from trio_afrender.transport.tokens import TokenGrant, TokenTable

__all__ = ("RETRY_LATER", "HandshakeRejected", "UpgradeRequest", "check_handshake")

Headers = Sequence[tuple[bytes, bytes]]
RETRY_LATER: Headers = ((b"Retry-After", b"60"),)
"""For clients of a full server, in seconds."""


@attrs.frozen(slots=True, kw_only=True)
class UpgradeRequest:
    """The headers of a client's HTTP request for an upgrade."""

    host: str
    """The ``Host`` header."""
    headers: Headers
    """All other headers, names in lower case."""
    subprotocols: Collection[str]
    local: str = ""
    """The local address that the client connected to."""


class HandshakeRejected(Exception):
    """The upgrade is rejected. `why` is for the server's log: the client gets status and headers."""

    def __init__(self, status: int, why: str, headers: Headers = ()) -> None:
        super().__init__(f"HTTP {status}: {why}")
        self.status = status
        self.headers = headers


def check_handshake(
    request: UpgradeRequest, *, tokens: TokenTable, names: Collection[str], full: bool = False
) -> TokenGrant:
    """Return what the client's token is valid for.

    `names` are the host names of this server; a `full` server rejects every client. Raises
    `HandshakeRejected`.
    """
    # Every browser sends Origin with a websocket request, no agent does. So a web page that an
    # artist opens cannot use the browser as its client, whatever token it has.
    if any(name == b"origin" for name, _ in request.headers):
        raise HandshakeRejected(403, "an Origin header: a browser, not an agent")
    # A foreign name in Host means DNS rebinding: the owner of that name pointed it at this address.
    host = split_host(request.host)
    if not is_loopback(host) and host not in names and host != request.local:
        raise HandshakeRejected(
            421, f"the Host header is {request.host[:100]!r}, not a name of this server"
        )
    # Without exactly one bearer token, an empty one goes through the same look-up, so that a
    # rejection takes equally long.
    values = [value for name, value in request.headers if name == b"authorization"]
    scheme, _, secret = (values[0] if len(values) == 1 else b"").partition(b" ")
    token = Token(secret.strip().decode("latin-1") if scheme.lower() == b"bearer" else "")
    grant = tokens.find(token)
    if not grant.patterns:
        # The client gets the same answer to a missing and to a wrong token; only the log differs
        # (test_a_missing_and_a_wrong_token_are_answered_alike).
        why = "an expired token" if grant.expired else "an unknown token" if values else "no token"
        raise HandshakeRejected(401, why, ((b"WWW-Authenticate", b"Bearer"),))
    # The following checks come after the token, so that a client without one learns neither the
    # version of this server nor that it is full.
    if SUBPROTOCOL not in request.subprotocols:
        raise HandshakeRejected(
            426,
            f"does not offer {SUBPROTOCOL}",
            ((b"Sec-WebSocket-Protocol", SUBPROTOCOL.encode("ascii")),),
        )
    if full:
        raise HandshakeRejected(503, "full", RETRY_LATER)
    return grant
