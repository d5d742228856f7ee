"""The addresses on which servers of this program listen, as they are given on the command line."""

from __future__ import annotations

from urllib.parse import urlsplit

import attrs

from trio_afrender.config.value_rules import checked, validate
from trio_afrender.errors import ConfigError
from trio_afrender.transport.address import is_loopback

__all__ = ("ListenAddress", "parse_address", "parse_listen")

_SCHEMES = ("ws", "wss")


@attrs.frozen(slots=True, kw_only=True)
class ListenAddress:
    """An address of this host to listen on."""

    host: str = attrs.field(validator=validate)
    port: int = attrs.field(metadata={"most": 65535}, validator=validate)
    tls: bool = checked(default=False)


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
