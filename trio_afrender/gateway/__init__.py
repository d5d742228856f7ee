"""Connects websocket agents to an Afanasy server. Stores no outcomes: the agents keep them.

`Gateway` is the whole; a `RenderProxy` is one render name, an `AgentSession` one websocket of it.
"""

from __future__ import annotations

from trio_afrender.gateway.gateway import Gateway, run_gateway
from trio_afrender.gateway.settings import GatewayConfig

__all__ = ("Gateway", "GatewayConfig", "run_gateway")
