"""The counters of a gateway and their text for Prometheus. No I/O."""

from __future__ import annotations

import attrs

__all__ = ("GatewayCounters", "format_counters")

_PREFIX = "trio_afrender_gateway_"


def _count(text: str, kind: str = "counter") -> float:
    counted: float = attrs.field(default=0, metadata={"text": text, "kind": kind})
    return counted


@attrs.define(eq=False)
class GatewayCounters:
    """Counts since the start of the gateway. A gauge is the present number."""

    agents: float = _count("Agents that are connected and registered.", "gauge")
    renders: float = _count(
        "Renders kept online at the server, those without a connection included.", "gauge"
    )
    sessions: float = _count("Sessions of agents that were registered.")
    refused: float = _count("Registers that were refused.")
    sessions_lost: float = _count("Sessions that ended without a deregister.")
    renders_given_up: float = _count("Renders deregistered because their agents did not reconnect.")
    updates: float = _count("Updates received from agents.")
    outcomes: float = _count("Outcomes of tasks among them, repeated ones included.")
    tasks: float = _count("Tasks handed out to agents.")
    held_up: float = _count("Messages that waited because their agents sent too many.")
    exchanges: float = _count("Exchanges with the server that were answered.")
    exchanges_failed: float = _count("Exchanges with the server that were not answered.")
    exchange_seconds: float = _count("Seconds that answered exchanges took, waiting included.")


def format_counters(counters: GatewayCounters) -> str:
    """Format the counters in the text format of Prometheus, version 0.0.4."""
    lines = []
    for field in attrs.fields(GatewayCounters):
        text, kind = field.metadata["text"], field.metadata["kind"]
        name = _PREFIX + field.name + ("_total" if kind == "counter" else "")
        value = getattr(counters, field.name)
        lines.append(f"# HELP {name} {text}\n# TYPE {name} {kind}\n{name} {value:.10g}\n")
    return "".join(lines)
