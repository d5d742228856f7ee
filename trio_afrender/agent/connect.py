"""Make the function that opens links to an agent's server, by the scheme of its URL.

Only the modules of the link in use are loaded: those of the websocket take 2.9 MB, those of the
afserver's protocol 1.8 MB of an agent's memory.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from trio_afrender.config.settings import Config
from trio_afrender.errors import ConfigError
from trio_afrender.transport.address import is_loopback, is_native, parse_native, parse_url
from trio_afrender.transport.interfaces import Connect

if TYPE_CHECKING:
    from trio_afrender.afserver.client import OpenStream
    from trio_afrender.afserver.link_state import Save

__all__ = ("check_server", "make_connect", "make_native_connect")

_log = logging.getLogger(__name__)


def check_server(config: Config) -> None:
    """Raise `ConfigError` for a URL that cannot be used. Opens nothing."""
    scheme = config.server.partition("://")[0].lower()
    if is_native(config.server):
        parse_native(config.server, config.server_port)
    elif scheme not in ("ws", "wss"):
        raise ConfigError(
            f'server "{config.server}": expected af://HOST, ws://HOST:PORT or wss://HOST:PORT'
        )
    else:
        parse_url(config.server, allow_plain=config.allow_plain)


def make_connect(config: Config, *, identity: str, save_identity: Save) -> Connect:
    """Return a function that opens links to the server of `config`. Raises `ConfigError`.

    An afserver identifies its renders by numbers. `identity` is the text that an earlier agent of
    this name stored with `save_identity`.
    """
    if is_native(config.server):
        return make_native_connect(config, identity=identity, save_identity=save_identity)
    from trio_afrender.transport.websocket_client import make_connect as make_websocket_connect

    return make_websocket_connect(config)


def make_native_connect(
    config: Config,
    *,
    identity: str,
    save_identity: Save,
    open_stream: OpenStream | None = None,
) -> Connect:
    """Return a function that opens links to an afserver. All of them share one `LinkState`."""
    from trio_afrender.afserver import Dialer, Identity, LinkState, open_afserver_link
    from trio_afrender.afserver.pacing import PollSchedule

    address = parse_native(config.server, config.server_port)
    if not is_loopback(address.host):
        _log.info(
            "%s: the protocol has no authentication; any program that reaches that port, or answers"
            " in its place, can run commands on this host",
            address.url,
        )
    if config.token is not None:
        _log.warning(
            "%s: the token is not used, Afanasy's protocol has no field for one", address.url
        )
    timing = config.timing
    state = LinkState(
        identity=Identity.read(identity, server=address.url, name=config.name),
        save=save_identity,
        pace=PollSchedule(heartbeat=timing.heartbeat, zombie=timing.zombie),
    )
    dialer = Dialer(address, open_stream=open_stream, timeout=timing.connect)
    return partial(open_afserver_link, dialer, state, timing)
