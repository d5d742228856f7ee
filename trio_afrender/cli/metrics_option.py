"""``--metrics HOST:PORT`` of commands that run for long."""

from __future__ import annotations

import socket
from argparse import Namespace
from collections.abc import Callable, Iterable

import attrs
import trio

from trio_afrender.cli.terminal import clean, print_line
from trio_afrender.errors import ConfigError
from trio_afrender.farm.json_interface.socket_owner import find_listener
from trio_afrender.gateway.settings import ListenAddress, parse_address
from trio_afrender.metrics.families import MetricFamily
from trio_afrender.metrics.metrics_port import MetricsPort, serve_metrics
from trio_afrender.transport.address import make_url

__all__ = ("MetricsOption", "open_listeners", "read_metrics_option")


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
        listeners = await open_listeners(self.address, "--metrics")
        served = MetricsPort(collect, prefix)

        async def serve(task_status: trio.TaskStatus[int]) -> None:
            await serve_metrics(served, "", 0, listeners=listeners, task_status=task_status)

        port: int = await nursery.start(serve)
        url = make_url(self.address.host, port, tls=False).replace("ws", "http", 1)
        print_line(f"metrics are at {clean(url)}/metrics")


def read_metrics_option(options: Namespace) -> MetricsOption:
    """Return the option of a command. Raises `ConfigError`."""
    given = options.metrics
    return MetricsOption(parse_address("--metrics", given) if given else None)


async def open_listeners(address: ListenAddress, option: str) -> list[trio.SocketListener]:
    """Bind the address of an option. Raises `ConfigError` that names the program that uses it."""
    try:
        return await trio.open_tcp_listeners(address.port, host=address.host)
    except (OSError, socket.gaierror) as error:
        holder = await trio.to_thread.run_sync(find_listener, address.port)
        used = f", by {clean(holder)}" if holder else ""
        problem = error.strerror or error
        text = f"{option}: cannot listen on {address.host}:{address.port}: {problem}{used}"
        raise ConfigError(text) from error
