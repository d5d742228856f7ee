"""Websocket agents on one side, an Afanasy server on the other. It holds no outcomes: agents do.

`gateway` is the whole; a `Render` is one name, a `Session` one websocket of it.
"""

from __future__ import annotations

from trio_afrender.gateway.gateway import Gateway, run_gateway
from trio_afrender.gateway.settings import GatewayConfig

__all__ = ("Gateway", "GatewayConfig", "run_gateway")
