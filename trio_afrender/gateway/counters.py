"""The counters of a gateway, as figures for Prometheus. No I/O."""

from __future__ import annotations

import attrs

from trio_afrender.metrics.families import MetricFamily, counter, gauge
from trio_afrender.transport.websocket_server import ConnectionCounts

__all__ = ("PREFIX", "GatewayCounters", "collect_gateway")

PREFIX = "trio_afrender_gateway_"


def _count(text: str, kind: str = "counter") -> float:
    counted: float = attrs.field(default=0, metadata={"text": text, "kind": kind})
    return counted


@attrs.define(eq=False)
class GatewayCounters(ConnectionCounts):
    """Counts since the start of the gateway. A gauge is the present number."""

    handshakes_displaced: float = _count(
        "Connections that were closed in their handshake for newer ones."
    )
    sessions_rejected: float = _count(
        "Connections with a valid token that were rejected, because there were enough."
    )
    large_messages_waited: float = _count(
        "Messages of more than 64 KiB that waited until others were read."
    )

    decoding_waited: float = _count(
        "Messages that waited because those of their token took long to decode."
    )
    agents: float = _count("Agents that are connected and registered.", "gauge")
    renders: float = _count(
        "Renders kept online at the server, those without a connection included.", "gauge"
    )
    sessions: float = _count("Sessions of agents that were registered.")
    refused: float = _count("Registers that were refused.")
    sessions_lost: float = _count("Sessions that ended without a deregister.")
    sessions_revoked: float = _count(
        "Sessions that were ended because their tokens were removed or expired."
    )
    token_files_read: float = _count("Changed token files that were read.")
    token_files_refused: float = _count("Changed token files that were not used, for an error.")
    renders_given_up: float = _count("Renders deregistered because their agents did not reconnect.")
    updates: float = _count("Updates received from agents.")
    outcomes: float = _count("Outcomes of tasks among them, repeated ones included.")
    tasks: float = _count("Tasks handed out to agents.")
    held_up: float = _count("Messages that waited because their agents sent too many.")
    held_up_bytes: float = _count("Messages that waited because their agents sent too many bytes.")
    exchanges: float = _count("Exchanges with the server that were answered.")
    exchanges_failed: float = _count("Exchanges with the server that were not answered.")
    exchanges_waited: float = _count("Exchanges with the server that waited for others.")
    exchange_seconds: float = _count("Seconds that answered exchanges took, waiting included.")
    identities_expired: float = _count("Stored ids of renders that were removed.")


def collect_gateway(counters: GatewayCounters) -> list[MetricFamily]:
    """Return the figures of a gateway for Prometheus."""
    make = {"counter": counter, "gauge": gauge}
    return [
        make[field.metadata["kind"]](
            PREFIX + field.name, field.metadata["text"], getattr(counters, field.name)
        )
        for field in attrs.fields(GatewayCounters)
    ]
