"""``trio_afrender gateway``: connects websocket agents to an afserver, as its renders."""

from __future__ import annotations

import logging
import platform
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import cast

import attrs
import trio

from trio_afrender.cli.load_settings import find_afserver, load_options
from trio_afrender.cli.logging_setup import open_daemon_log
from trio_afrender.cli.metrics_option import MetricsOption, read_metrics_option
from trio_afrender.cli.signals import open_signals
from trio_afrender.cli.terminal import clean, print_line
from trio_afrender.config.load import make_config, make_log_settings
from trio_afrender.errors import ConfigError
from trio_afrender.gateway import Gateway, GatewayConfig, run_gateway
from trio_afrender.gateway.counters import PREFIX, collect_gateway
from trio_afrender.gateway.identity_store import MAX_NAMES, IdentityStore, open_identity_store
from trio_afrender.metrics.families import MetricFamily
from trio_afrender.metrics.program_metrics import collect_program
from trio_afrender.transport.listen_address import parse_listen
from trio_afrender.transport.tls import make_server_context
from trio_afrender.transport.tokens import read_tokens_file
from trio_afrender.transport.websocket_server import MAX_HANDSHAKES

__all__ = ("run",)

_SPARE = MAX_HANDSHAKES + 128
"""Descriptors besides those of agents: handshakes, requests to the afserver, metrics, the log."""


def run(options: Namespace) -> int:
    """Run a gateway until a signal ends it; return 0 then. Raises `AfRenderError`."""
    if options.listen is None:
        raise ConfigError("no address: give --listen wss://HOST:PORT, to which agents connect")
    if options.tokens is None:
        raise ConfigError(
            "no tokens: give --tokens FILE with lines NAME-OR-PATTERN TOKEN, for the agents that"
            " may connect"
        )
    listen = parse_listen(options.listen, allow_plain=options.allow_plain)
    settings = load_options(options)
    server = find_afserver(settings, "a gateway connects to an afserver")
    tokens = read_tokens_file(options.tokens)
    if listen.tls and options.cert is None:
        raise ConfigError(
            "wss:// needs --cert FILE (PEM), and --key FILE if the key is in a file of its own"
        )
    if not listen.tls and (options.cert or options.key):
        raise ConfigError("--cert and --key need --listen wss://, but --listen has ws://")
    config = GatewayConfig(
        listen=listen,
        server=server,
        tokens=tokens,
        tokens_file=options.tokens,
        ssl_context=make_server_context(options.cert, options.key) if listen.tls else None,
        names=(platform.node(), *options.names),
        max_agents=options.max_agents,
        max_agents_per_token=options.max_agents_per_token,
        rate=options.rate,
        timing=make_config(settings).timing,
    )
    metrics = read_metrics_option(options)
    store = Path(cast("str", settings["af_store_folder"]))
    folder = options.store or store / "trio_afrender_gateway" / str(listen.port)
    level = logging.DEBUG if options.verbose else logging.INFO
    log = make_log_settings(settings)
    with (
        open_identity_store(folder, max(MAX_NAMES, 2 * options.max_agents)) as identities,
        open_daemon_log("gateway", log, level, times=not options.log_nodate),
    ):
        _raise_file_limit(options.max_agents)
        trio.run(_GatewayProgram(config, identities, metrics).run)
    return 0


def _raise_file_limit(agents: int) -> None:
    """Raise the limit of open files for `agents`; warn if the hard limit is too low."""
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return
    # Each agent is an open descriptor, and the usual soft limit is 1024.
    wanted = agents + _SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < agents + _SPARE:
        print_line(
            f"warning: this process may open {wanted} files (ulimit -n), enough for "
            f"{wanted - _SPARE} agents; give a lower --max-agents, or raise the limit"
        )


@attrs.define(slots=True)
class _GatewayProgram:
    """Runs a gateway until a signal.

    First signal: end after the requests in progress. Second, or before the start: cancel.
    """

    config: GatewayConfig
    identities: IdentityStore
    metrics: MetricsOption
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _gateway: Gateway | None = None

    async def run(self) -> None:
        """Run the gateway to its end. Raises what `run_gateway` raises."""
        async with open_signals(self.handle_signal):
            with self._scope:
                async with trio.open_nursery() as servers:
                    await self.metrics.serve(servers, self.collect, PREFIX)
                    async with trio.open_nursery() as nursery:
                        gateway: Gateway = await nursery.start(
                            partial(run_gateway, self.config, identities=self.identities)
                        )
                        self._gateway = gateway
                        print_line(
                            f"agents connect to {clean(gateway.url)}, the server is"
                            f" {self.config.server.url}"
                        )
                    servers.cancel_scope.cancel()

    def collect(self) -> list[MetricFamily]:
        """Return the figures of the gateway, once it has started, and of this program."""
        of_gateway = collect_gateway(self._gateway.counters) if self._gateway is not None else ()
        return [*of_gateway, *collect_program("gateway")]

    def handle_signal(self, count: int, name: str) -> None:
        if self._gateway is None or count > 1:
            self._scope.cancel()
        else:
            print_line(f"{name}: closing; agents keep their tasks and will reconnect")
            self._gateway.stop()
