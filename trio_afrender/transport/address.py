"""Where a server is: taking URLs apart, and telling this host from the rest of the world."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

import attrs

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
_SHOWN = 200
"""Characters of a URL that a sentence holds."""


@attrs.frozen(slots=True, kw_only=True)
class WebSocketAddress:
    """A websocket server's place, checked."""

    url: str
    host: str
    port: int
    resource: str
    tls: bool

    @property
    def host_header(self) -> str:
        """What the ``Host`` header says: with the port unless it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = _PORTS["wss" if self.tls else "ws"]
        return host if self.port == usual else f"{host}:{self.port}"


def parse_url(url: str, *, allow_plain: bool = False) -> WebSocketAddress:
    """Take a server's URL apart. Raises ConfigError for one that cannot or must not be used."""
    shown = url if len(url) <= _SHOWN else f"{url[:_SHOWN]}..."
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ConfigError(f'server "{shown}": {error}') from error
    if parts.scheme not in _PORTS:
        raise ConfigError(f'server "{shown}": expected ws://HOST:PORT or wss://HOST:PORT')
    if parts.username is not None or parts.password is not None:
        raise ConfigError(  # without the URL: it holds a secret
            f'server at "{host}": a URL shows in process lists and logs, '
            "put the token into a file and name that"
        )
    tls = parts.scheme == "wss"
    resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    port = _PORTS[parts.scheme] if port is None else port
    address = WebSocketAddress(url=url, host=host, port=port, resource=resource, tls=tls)
    if parts.fragment or not host or not _can_be_sent(address):
        raise ConfigError(f'server "{shown}": expected ws://HOST:PORT or wss://HOST:PORT')
    if not tls and not allow_plain and not is_loopback(host):
        raise ConfigError(
            f'server "{shown}": the token would be readable on its way to another host; use wss://, '
            "or allow plain connections (allow_plain) if the whole way can be trusted"
        )
    return address


NATIVE = "af"


@attrs.frozen(slots=True, kw_only=True)
class NativeAddress:
    """An Afanasy server's place, checked."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """How it is written, port included."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{NATIVE}://{host}:{self.port}"


def is_native(url: str) -> bool:
    """Whether the URL is of a server that speaks Afanasy's own protocol."""
    return url.partition("://")[0].lower() == NATIVE


def parse_native(url: str, default_port: int = 51000) -> NativeAddress:
    """Take ``af://HOST:PORT`` apart. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        # An IPv6 address of one link names the interface, behind a "%" that URLs escape.
        host, port = (parts.hostname or "").replace("%25", "%"), parts.port
        host.encode("idna")
    except ValueError as error:
        raise ConfigError(f'server "{url}": {error}') from error
    more = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme != NATIVE or not host or more or port == 0:
        raise ConfigError(f'server "{url}": expected af://HOST or af://HOST:PORT')
    return NativeAddress(host=host, port=default_port if port is None else port)


def _can_be_sent(address: WebSocketAddress) -> bool:
    """Whether it can stand in a request: the library would fail later and in the dark."""
    try:
        address.host.encode("idna")
        address.host_header.encode("idna")
    except UnicodeError:
        return False
    resource = address.resource
    return resource.isascii() and resource.isprintable() and " " not in resource


def is_loopback(host: str) -> bool:
    """Whether a name or address never leaves this host."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower().rstrip(".") == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback or (mapped is not None and mapped.is_loopback)


def split_host(header: str) -> str:
    """The name or address in a ``Host`` header: lower case, without port and brackets."""
    text = header.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    name, _, port = text.rpartition(":")
    return (name if name and port.isdigit() else text).rstrip(".")


def make_url(host: str, port: int, *, tls: bool) -> str:
    """The URL under which a server bound to `host` is reached, from this host if to all."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host or "localhost"
    else:
        if address.is_unspecified:
            address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
        name = f"[{address}]" if address.version == 6 else str(address)
    return f"{'wss' if tls else 'ws'}://{name}:{port}"


def explain_unreachable(error: OSError) -> str:
    """Why nobody could be reached: trio tries all addresses and groups what they said."""
    if isinstance(error, socket.gaierror):
        return f"unknown host ({error.strerror})"
    causes: Sequence[BaseException] = (error.__cause__ or error,)
    if isinstance(error.__cause__, BaseExceptionGroup):
        causes = error.__cause__.exceptions
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return "nobody listens there (connection refused)"
    return str(getattr(causes[0], "strerror", None) or causes[0])
