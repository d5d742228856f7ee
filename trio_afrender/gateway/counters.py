"""What a gateway counts of itself, and how Prometheus reads it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

__all__ = ("GatewayCounters", "format_counters")

_PREFIX = "trio_afrender_gateway_"


def _count(text: str, kind: str = "counter") -> float:
    counted: float = attrs.field(default=0, metadata={"text": text, "kind": kind})
    return counted


@attrs.define(eq=False)
class GatewayCounters:
    """Numbers since the start; those that are gauges: now."""

    agents: float = _count("Agents that are connected and registered.", "gauge")
    renders: float = _count("Renders kept online at the server, agents cut off included.", "gauge")
    sessions: float = _count("Sessions of agents that were registered.")
    refused: float = _count("Registers that were refused.")
    sessions_lost: float = _count("Sessions that ended without a goodbye.")
    renders_given_up: float = _count("Renders deregistered because their agents stayed away.")
    updates: float = _count("Updates taken from agents.")
    outcomes: float = _count("Outcomes of tasks among them, repeated ones included.")
    tasks: float = _count("Tasks handed out to agents.")
    held_up: float = _count("Messages that waited because their agents sent too many.")
    exchanges: float = _count("Exchanges with the server that were answered.")
    exchanges_failed: float = _count("Exchanges with the server that were not answered.")
    exchange_seconds: float = _count("Seconds that answered exchanges took, waiting included.")


def format_counters(counters: GatewayCounters) -> str:
    """The text that Prometheus scrapes (its text format, version 0.0.4)."""
    return "".join(_lines(counters))


def _lines(counters: GatewayCounters) -> Iterator[str]:
    for field in attrs.fields(GatewayCounters):
        text, kind = field.metadata["text"], field.metadata["kind"]
        name = _PREFIX + field.name + ("_total" if kind == "counter" else "")
        value = getattr(counters, field.name)
        yield f"# HELP {name} {text}\n# TYPE {name} {kind}\n{name} {value:.10g}\n"
