"""Reads figures with the parser of Prometheus' own client, and checks their names by its conventions."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import trio
from prometheus_client.parser import text_string_to_metric_families

from trio_afrender.gateway import Gateway
from trio_afrender.gateway.counters import PREFIX, collect_gateway
from trio_afrender.metrics.metrics_port import MetricsPort, serve_metrics

__all__ = ("check_conventions", "open_gateway_metrics", "read_figures", "scrape")

_UNITS = ("seconds", "bytes", "ratio", "celsius", "per_second", "info", "fds")
_BAD_UNITS = ("_ms", "_milliseconds", "_minutes", "_kb", "_mb", "_percent", "_count")


@asynccontextmanager
async def open_gateway_metrics(gateway: Gateway) -> AsyncIterator[int]:
    """Serve the figures of a gateway, as its command does; yield the port."""
    served = MetricsPort(lambda: collect_gateway(gateway.counters), PREFIX)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        port: int = await nursery.start(serve_metrics, served, listeners)
        yield port
        nursery.cancel_scope.cancel()


async def scrape(address: str) -> str:
    """Return the text that ``HOST:PORT`` serves."""
    host, _, port = address.rpartition(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        async for data in stream:
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n" in head
    return body.decode()


def read_figures(text: str) -> Mapping[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return the figures of a text by their names and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def check_conventions(text: str) -> None:
    """Assert what ``promtool check metrics`` checks, and that each name occurs once."""
    assert text.endswith("\n")
    names = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)
    assert len({name for name, _ in names}) == len(names)
    helped = re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE)
    assert [name for name, _ in helped] == [name for name, _ in names]
    assert all(sentence.endswith(".") for _, sentence in helped)
    for name, kind in names:
        assert re.fullmatch("[a-z][a-z0-9]*(_[a-z0-9]+)*", name), name
        assert name.endswith("_total") == (kind == "counter"), name
        assert not name.removesuffix("_total").endswith(_BAD_UNITS), name
        if kind == "histogram":
            assert name.endswith(_UNITS), name
    families = list(text_string_to_metric_families(text))
    assert len(families) == len(names)
    for family in families:
        found = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in family.samples]
        assert len(set(found)) == len(found), family.name
