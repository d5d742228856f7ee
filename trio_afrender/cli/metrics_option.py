"""``--metrics HOST:PORT`` of commands that run for long."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterable

import attrs
import trio

from trio_afrender.cli.terminal import clean, print_line
from trio_afrender.metrics.families import MetricFamily
from trio_afrender.transport.address import make_url
from trio_afrender.transport.listen_address import ListenAddress, parse_address

__all__ = ("MetricsOption", "read_metrics_option")


@attrs.frozen
class MetricsOption:
    """Where figures are served; `address` None: nowhere."""

    address: ListenAddress | None

    async def serve(
        self,
        nursery: trio.Nursery,
        collect: Callable[[], Iterable[MetricFamily]],
        prefix: str,
    ) -> None:
        """Serve figures in a nursery until it is cancelled. Raises `ConfigError` for a port in use."""
        if self.address is None:
            return
        # Loaded here, because most agents serve no figures: 0.2 MB.
        from trio_afrender.metrics.metrics_port import MetricsPort, serve_metrics
        from trio_afrender.transport.bound_port import open_listeners

        where = self.address
        listeners = await open_listeners(where.host, where.port, "--metrics: cannot listen on")
        port: int = await nursery.start(serve_metrics, MetricsPort(collect, prefix), listeners)
        url = make_url(where.host, port, tls=False, scheme="http")
        print_line(f"metrics are at {clean(url)}/metrics")


def read_metrics_option(options: Namespace) -> MetricsOption:
    """Return the option of a command. Raises `ConfigError`."""
    given = options.metrics
    return MetricsOption(parse_address("--metrics", given) if given is not None else None)
