"""How an agent reaches its server, by the scheme of its URL."""

from __future__ import annotations

import logging
from functools import partial

from trio_afrender.afserver import Dialer, Identity, LinkState, open_afserver_link
from trio_afrender.afserver.client import OpenStream
from trio_afrender.afserver.link_state import Save
from trio_afrender.afserver.pacing import PollSchedule
from trio_afrender.config.settings import Config
from trio_afrender.errors import ConfigError
from trio_afrender.transport.address import is_loopback, is_native, parse_native, parse_url
from trio_afrender.transport.interfaces import Connect
from trio_afrender.transport.websocket_client import make_connect as make_websocket_connect

__all__ = ("check_server", "make_connect", "make_native_connect")

_log = logging.getLogger(__name__)


def check_server(config: Config) -> None:
    """Raise ConfigError for a URL that cannot be used, before anything is opened for it."""
    scheme = config.server.partition("://")[0].lower()
    if is_native(config.server):
        parse_native(config.server, config.server_port)
    elif scheme not in ("ws", "wss"):
        raise ConfigError(
            f'server "{config.server}": expected af://HOST, ws://HOST:PORT or wss://HOST:PORT'
        )
    else:
        parse_url(config.server, allow_plain=config.allow_plain)


def make_connect(config: Config, *, remembered: str, remember: Save) -> Connect:
    """Open links to the server of `config`. Raises ConfigError.

    An Afanasy server knows its renders by numbers: `remembered` is what an earlier agent of this
    name kept with `remember`.
    """
    if is_native(config.server):
        return make_native_connect(config, remembered=remembered, remember=remember)
    return make_websocket_connect(config)


def make_native_connect(
    config: Config,
    *,
    remembered: str = "",
    remember: Save | None = None,
    open_stream: OpenStream | None = None,
) -> Connect:
    """Open links to an Afanasy server, all with one memory."""
    address = parse_native(config.server, config.server_port)
    if not is_loopback(address.host):
        _log.info(
            "%s: whoever reaches that port, or answers in its place, may run commands here: the"
            " protocol has no authentication",
            address.url,
        )
    if config.token is not None:
        _log.warning(
            "%s: the token is not used, Afanasy's protocol has no place for one", address.url
        )
    timing = config.timing
    memory = LinkState(
        identity=Identity.read(remembered, server=address.url, name=config.name),
        pace=PollSchedule(heartbeat=timing.heartbeat, zombie=timing.zombie),
    )
    if remember is not None:
        memory.save = remember
    dialer = Dialer(address, open_stream=open_stream, timeout=timing.connect)
    return partial(open_afserver_link, dialer, memory, timing)
