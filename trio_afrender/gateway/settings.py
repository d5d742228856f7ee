"""What can be set for a gateway, and where it listens."""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

import attrs

from trio_afrender.config import Timing
from trio_afrender.errors import ConfigError
from trio_afrender.transport.address import NativeAddress, is_loopback
from trio_afrender.transport.tokens import TokenTable

__all__ = ("GatewayConfig", "ListenAddress", "parse_address", "parse_listen")

_SCHEMES = ("ws", "wss")


@attrs.frozen(slots=True, kw_only=True)
class ListenAddress:
    """An address of this host to listen on."""

    host: str
    port: int
    tls: bool = False


@attrs.frozen(slots=True, kw_only=True)
class GatewayConfig:
    """One gateway's settings."""

    listen: ListenAddress
    server: NativeAddress
    tokens: TokenTable
    ssl_context: ssl.SSLContext | None = None
    names: tuple[str, ...] = ()
    """Names that agents may call this host by, beside that of `listen`."""
    max_agents: int = 10_000
    rate: float = 50.0
    """Messages a second that one agent may send for long; more of them wait their turn."""
    metrics: ListenAddress | None = None
    timing: Timing = attrs.field(factory=Timing)


def parse_listen(url: str, *, allow_plain: bool = False) -> ListenAddress:
    """Where ``wss://HOST:PORT`` says to listen. Raises `ConfigError` for what must not be."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ConfigError(f'--listen "{url}": {error}') from error
    more = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme not in _SCHEMES or not host or port is None or more:
        raise ConfigError(
            f'--listen "{url}": expected wss://HOST:PORT, as wss://0.0.0.0:7443 for all addresses'
        )
    tls = parts.scheme == "wss"
    if not tls and not allow_plain and not is_loopback(host):
        raise ConfigError(
            f'--listen "{url}": tokens would be readable on their way from other hosts; use wss:// '
            "with --cert, or --allow-plain if the whole way can be trusted"
        )
    return ListenAddress(host=host, port=port, tls=tls)


def parse_address(option: str, text: str) -> ListenAddress:
    """``HOST:PORT`` of an option. Raises `ConfigError`."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ConfigError(f'{option} "{text}": {error}') from error
    if not host or port is None or parts.path or "@" in parts.netloc:
        raise ConfigError(f'{option} "{text}": expected HOST:PORT, as 127.0.0.1:9108')
    return ListenAddress(host=host, port=port)
