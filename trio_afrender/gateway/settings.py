"""Settings of a gateway."""

from __future__ import annotations

import ssl
from pathlib import Path

import attrs

from trio_afrender.config import Timing
from trio_afrender.config.value_rules import checked, validate
from trio_afrender.errors import InvalidSetting
from trio_afrender.transport.address import NativeAddress
from trio_afrender.transport.listen_address import ListenAddress
from trio_afrender.transport.tokens import TokenTable

__all__ = ("GatewayConfig",)


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
