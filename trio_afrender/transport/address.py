"""Server addresses: parse and check URLs, recognize loopback, explain failed connects. No I/O."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

import attrs

from trio_afrender.config.value_rules import validate
from trio_afrender.errors import ConfigError

__all__ = (
    "NativeAddress",
    "WebSocketAddress",
    "explain_unreachable",
    "is_loopback",
    "is_native",
    "make_url",
    "parse_native",
    "parse_url",
    "split_host",
)

_PORTS = {"ws": 80, "wss": 443}
_MAX_SHOWN = 200
"""Characters of a URL that an error message repeats."""


@attrs.frozen(slots=True, kw_only=True)
class WebSocketAddress:
    """The parsed and checked URL of a websocket server."""

    url: str
    host: str
    port: int
    resource: str
    tls: bool

    @property
    def host_header(self) -> str:
        """The value of the ``Host`` header; the port is left out if it is the scheme's default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = _PORTS["wss" if self.tls else "ws"]
        return host if self.port == default else f"{host}:{self.port}"


def parse_url(url: str, *, allow_plain: bool = False) -> WebSocketAddress:
    """Parse a ``ws://`` or ``wss://`` URL.

    Raises `ConfigError` for a URL that is malformed, contains a user or a password, or is plain
    ``ws://`` to another host without `allow_plain`.
    """
    shown = url if len(url) <= _MAX_SHOWN else f"{url[:_MAX_SHOWN]}..."
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ConfigError(f'server "{shown}": {error}') from error
    if parts.scheme not in _PORTS:
        raise ConfigError(f'server "{shown}": expected ws://HOST:PORT or wss://HOST:PORT')
    if parts.username is not None or parts.password is not None:
        # The message leaves the URL out, because the URL contains a secret.
        raise ConfigError(
            f'server at "{host}": a URL is visible in process lists and logs; '
            "put the token into a file and give the file's name"
        )
    tls = parts.scheme == "wss"
    resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    port = _PORTS[parts.scheme] if port is None else port
    address = WebSocketAddress(url=url, host=host, port=port, resource=resource, tls=tls)
    # Host and resource are written into the HTTP request. They are checked here, because
    # trio-websocket fails on them only after the connect, and its error does not name the URL.
    fits = resource.isascii() and resource.isprintable() and " " not in resource
    try:
        host.encode("idna")
        address.host_header.encode("idna")
    except UnicodeError:
        fits = False
    if parts.fragment or not host or not fits:
        raise ConfigError(f'server "{shown}": expected ws://HOST:PORT or wss://HOST:PORT')
    if not tls and not allow_plain and not is_loopback(host):
        raise ConfigError(
            f'server "{shown}": the token would be readable on its way to another host; use wss://, '
            "or set allow_plain if the whole network path is trusted"
        )
    return address


NATIVE = "af"
"""The URL scheme of Afanasy's own protocol."""


@attrs.frozen(slots=True, kw_only=True)
class NativeAddress:
    """The parsed and checked URL of an afserver."""

    host: str = attrs.field(validator=validate)
    port: int = attrs.field(metadata={"most": 65535}, validator=validate)

    @property
    def url(self) -> str:
        """The URL, with its port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{NATIVE}://{host}:{self.port}"


def is_native(url: str) -> bool:
    """Return whether the URL has the scheme of Afanasy's own protocol."""
    return url.partition("://")[0].lower() == NATIVE


def parse_native(url: str, default_port: int = 51000) -> NativeAddress:
    """Parse ``af://HOST`` or ``af://HOST:PORT``. Raises `ConfigError`."""
    try:
        parts = urlsplit(url)
        # A link-local IPv6 address names its interface after a "%", which URLs escape as "%25".
        host, port = (parts.hostname or "").replace("%25", "%"), parts.port
        host.encode("idna")
    except ValueError as error:
        raise ConfigError(f'server "{url}": {error}') from error
    extra = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme != NATIVE or not host or extra or port == 0:
        raise ConfigError(f'server "{url}": expected af://HOST or af://HOST:PORT')
    return NativeAddress(host=host, port=default_port if port is None else port)


def is_loopback(host: str) -> bool:
    """Return whether connections to a host name or address stay on this host."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower().rstrip(".") == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback or (mapped is not None and mapped.is_loopback)


def split_host(header: str) -> str:
    """Return the name or address in a ``Host`` header: lower case, without port and brackets."""
    text = header.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    name, _, port = text.rpartition(":")
    return (name if name and port.isdigit() else text).rstrip(".")


def make_url(host: str, port: int, *, tls: bool, scheme: str = "ws") -> str:
    """Return the URL of a server that is bound to `host` and `port`. `scheme` is that without TLS.

    For a server that is bound to all addresses it is the loopback URL.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host or "localhost"
    else:
        if address.is_unspecified:
            address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
        name = f"[{address}]" if address.version == 6 else str(address)
    return f"{scheme}{'s' if tls else ''}://{name}:{port}"


def explain_unreachable(error: OSError) -> str:
    """Return the cause of a failed connect, as part of a sentence."""
    if isinstance(error, socket.gaierror):
        return f"unknown host ({error.strerror})"
    # trio tries every address of a name. If several failed, their errors are a group in __cause__.
    causes: Sequence[BaseException] = (error.__cause__ or error,)
    if isinstance(error.__cause__, BaseExceptionGroup):
        causes = error.__cause__.exceptions
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return "no server listens there (connection refused)"
    return str(getattr(causes[0], "strerror", None) or causes[0])
