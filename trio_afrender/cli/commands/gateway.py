"""``trio_afrender gateway``: websocket agents appear on an afserver as its renders."""

from __future__ import annotations

import logging
import platform
import resource
from argparse import Namespace
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import cast

import trio

from trio_afrender.cli.load_settings import load_options
from trio_afrender.cli.logging_setup import logging_to
from trio_afrender.cli.signals import watch_signals
from trio_afrender.cli.terminal import clean, print_line
from trio_afrender.config.build import make_config
from trio_afrender.config.load import Settings
from trio_afrender.errors import ConfigError
from trio_afrender.gateway import Gateway, GatewayConfig, run_gateway
from trio_afrender.gateway.identity_store import IdentityStore, open_folder
from trio_afrender.gateway.settings import ListenAddress, parse_address, parse_listen
from trio_afrender.transport.address import NativeAddress, is_native, make_url, parse_native
from trio_afrender.transport.tls import make_server_context
from trio_afrender.transport.tokens import read_tokens_file

__all__ = ("run",)

_SPARE = 128
"""Descriptors beside those of agents: exchanges, the log, connections in their handshake."""


def run(options: Namespace) -> int:
    """Be a gateway until told to end; 0 then. Raises `AfRenderError`."""
    if options.listen is None:
        raise ConfigError("give --listen wss://HOST:PORT, where agents connect")
    if options.tokens is None:
        raise ConfigError(
            "give --tokens FILE, lines of NAME-OR-PATTERN TOKEN: nobody comes in without"
        )
    listen = parse_listen(options.listen, allow_plain=options.allow_plain)
    settings = load_options(options)
    config = GatewayConfig(
        listen=listen,
        server=_find_server(settings),
        tokens=read_tokens_file(options.tokens),
        ssl_context=make_server_context(options.cert, options.key)
        if _wants_tls(options, listen)
        else None,
        names=(platform.node(), *options.names),
        max_agents=options.max_agents,
        rate=options.rate,
        metrics=parse_address("--metrics", options.metrics) if options.metrics else None,
        timing=make_config(settings).timing,
    )
    folder = options.store or _default_store(settings, listen)
    level = logging.DEBUG if options.verbose else logging.INFO
    with (
        open_folder(folder) as identities,
        logging_to(print_line, level, times=not options.log_nodate),
    ):
        _raise_descriptors(options.max_agents)
        trio.run(_serve, config, identities)
    return 0


def _wants_tls(options: Namespace, listen: ListenAddress) -> bool:
    if listen.tls and options.cert is None:
        raise ConfigError(
            "wss:// needs --cert FILE (PEM) and, unless it is in there too, --key FILE"
        )
    if not listen.tls and (options.cert or options.key):
        raise ConfigError("--cert and --key are for wss://, and --listen says ws://")
    return listen.tls


def _find_server(settings: Settings) -> NativeAddress:
    server = str(settings["server"])
    if not server:
        raise ConfigError("no server: give --server af://HOST:PORT, or set af_servername")
    if not is_native(server):
        raise ConfigError(
            f'server "{server}": a gateway stands before an afserver, give --server af://HOST:PORT'
        )
    return parse_native(server, cast("int", settings["af_serverport"]))


def _default_store(settings: Settings, listen: ListenAddress) -> Path:
    folder = Path(cast("str", settings["af_store_folder"]))
    return folder / "trio_afrender_gateway" / str(listen.port)


def _raise_descriptors(agents: int) -> None:
    """Each agent is an open descriptor, and shells give a thousand."""
    wanted = agents + _SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < agents + _SPARE:
        print_line(
            f"warning: this process may open {wanted} files (ulimit -n), so no more than "
            f"{wanted - _SPARE} agents; give --max-agents, or raise that limit"
        )


async def _serve(config: GatewayConfig, identities: IdentityStore) -> None:
    async with trio.open_nursery() as outer:
        patience = _SignalEscalation()
        await outer.start(watch_signals, patience.less)
        try:
            with patience.scope:
                async with trio.open_nursery() as inner:
                    gateway = await inner.start(partial(run_gateway, config, identities=identities))
                    patience.gateway = gateway
                    print_line(*_describe(gateway, config))
        finally:
            outer.cancel_scope.cancel()


def _describe(gateway: Gateway, config: GatewayConfig) -> Iterator[str]:
    yield f"agents connect to {clean(gateway.url)}, the server is {config.server.url}"
    if config.metrics is not None:
        place = make_url(config.metrics.host, gateway.metrics_port, tls=False)
        yield f"counters are at {place.replace('ws', 'http', 1)}/metrics"


class _SignalEscalation:
    """First signal: end when the exchanges under way are over. Second, or before the start: now."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.gateway: Gateway | None = None

    def less(self, count: int, name: str) -> None:
        if self.gateway is None or count > 1:
            self.scope.cancel()
        else:
            print_line(f"{name}: closing; agents keep their tasks and come again")
            self.gateway.stop()
