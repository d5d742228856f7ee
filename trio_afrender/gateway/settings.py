"""Settings of a gateway, and the addresses that it listens on."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import urlsplit

import attrs

from trio_afrender.config import Timing
from trio_afrender.config.value_rules import checked, validate
from trio_afrender.errors import ConfigError, InvalidSetting
from trio_afrender.transport.address import NativeAddress, is_loopback
from trio_afrender.transport.tokens import TokenTable

__all__ = ("GatewayConfig", "ListenAddress", "parse_address", "parse_listen")

_SCHEMES = ("ws", "wss")


@attrs.frozen(slots=True, kw_only=True)
class ListenAddress:
    """An address of this host to listen on."""

    host: str = attrs.field(validator=validate)
    port: int = attrs.field(metadata={"most": 65535}, validator=validate)
    tls: bool = checked(default=False)


@attrs.frozen(slots=True, kw_only=True)
class GatewayConfig:
    """One gateway's settings."""

    listen: ListenAddress = attrs.field(validator=validate)
    server: NativeAddress = attrs.field(validator=validate)
    tokens: TokenTable = attrs.field(validator=validate)
    tokens_file: Path | None = checked(None)
    """Read again whenever it changes; None: `tokens` is all there is."""
    ssl_context: ssl.SSLContext | None = checked(None)
    names: tuple[str, ...] = checked(())
    """Names by which agents may address this host, in addition to that of `listen`."""
    max_agents: int = checked(10_000, least=1)
    max_agents_per_token: int | None = checked(None, least=1)
    """Connections of one token; None: half of `max_agents`."""
    rate: float = checked(50.0, least=0.001, unit="messages a second")
    """Messages a second that one agent may send over time; further ones are delayed."""
    timing: Timing = attrs.field(factory=Timing, validator=validate)

    def __attrs_post_init__(self) -> None:
        if self.listen.tls and self.ssl_context is None:
            raise InvalidSetting(
                "GatewayConfig.ssl_context",
                None,
                "a context of a server, because listen.tls is set",
            )

    @property
    def share_of_token(self) -> int:
        """How many connections one token may have."""
        return self.max_agents_per_token or max(self.max_agents // 2, 1)


def parse_listen(url: str, *, allow_plain: bool = False) -> ListenAddress:
    """Parse ``wss://HOST:PORT``. Raises `ConfigError` for an invalid or unsafe address."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ConfigError(f'--listen "{url}": {error}') from error
    more = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme not in _SCHEMES or not host or port is None or more:
        raise ConfigError(
            f'--listen "{url}": expected wss://HOST:PORT, for example wss://0.0.0.0:7443'
        )
    tls = parts.scheme == "wss"
    if not tls and not allow_plain and not is_loopback(host):
        raise ConfigError(
            f'--listen "{url}": tokens would be readable on their way from other hosts; use wss:// '
            "with --cert, or --allow-plain if the whole network can be trusted"
        )
    return ListenAddress(host=host, port=port, tls=tls)


def parse_address(option: str, text: str) -> ListenAddress:
    """Parse the ``HOST:PORT`` of an option. Raises `ConfigError`."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ConfigError(f'{option} "{text}": {error}') from error
    if not host or port is None or parts.path or "@" in parts.netloc:
        raise ConfigError(f'{option} "{text}": expected HOST:PORT, for example 127.0.0.1:9108')
    return ListenAddress(host=host, port=port)
