"""Serves the page of a farm: watches the farm, binds the address, makes the links."""

from __future__ import annotations

import ipaddress
import logging
import socket
import ssl
from collections.abc import Callable, Collection
from pathlib import Path

import attrs
import trio

from trio_afrender.afserver.remote_farm import RemoteFarm
from trio_afrender.async_helpers import open_bare_nursery
from trio_afrender.errors import ConfigError
from trio_afrender.tasklog.io_threads import call_in_thread
from trio_afrender.transport.address import is_loopback, make_url
from trio_afrender.transport.bound_port import open_listeners
from trio_afrender.transport.socket_owner import OwnerCheck, make_owner_check
from trio_afrender.transport.tls import make_server_context
from trio_afrender.web.action_log import ActionLog
from trio_afrender.web.farm_watch import FarmWatch
from trio_afrender.web.http_listener import serve_http
from trio_afrender.web.page_app import Page, make_app
from trio_afrender.web.sessions import PageSession, SessionTable, ViewerSeats
from trio_afrender.web.settings import PageSettings
from trio_afrender.web.topic_registry import TopicRegistry

__all__ = ("OpenPage", "check_address", "make_page", "serve_page")

_log = logging.getLogger(__name__)

_LOOK_UPS = 4
"""Look-ups of owners of connections at once."""
_RESTART = 5.0


@attrs.frozen(slots=True, kw_only=True)
class OpenPage:
    """A page that is served. `make_link` returns a link for one browser."""

    url: str
    make_link: Callable[[bool], str]
    """Of a link that may steer, or not."""
    watch: FarmWatch


def check_address(host: str, certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """Return the TLS context of an address. Raises `ConfigError` for one that would not be safe."""
    if key is not None and certificate is None:
        raise ConfigError("--key needs --cert, the file of the certificate")
    if certificate is not None:
        return make_server_context(certificate, key)
    if not is_loopback(host):
        raise ConfigError(
            f"cannot serve the page at {host} without TLS: who steers the farm runs commands, and"
            " the network could read the link; give --cert and --key, or listen on 127.0.0.1 and"
            " use an SSH tunnel"
        )
    return None


async def serve_page(
    farm: RemoteFarm,
    settings: PageSettings,
    *,
    report_used: Callable[[PageSession], None] = lambda _: None,
    task_status: trio.TaskStatus[OpenPage] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the page of a farm until cancelled. `report_used` is called when a link was used.

    Raises `ConfigError` for an address that cannot be bound.
    """
    listeners = await open_listeners(settings.host, settings.port, "cannot serve the page on")
    port = int(listeners[0].socket.getsockname()[1])
    tls = settings.ssl_context is not None
    try:
        everywhere = ipaddress.ip_address(settings.host).is_unspecified
    except ValueError:
        everywhere = not settings.host
    # An address that means all addresses is no place to go to.
    shown = socket.gethostname() if everywhere else settings.host
    url = make_url(shown, port, tls=tls, scheme="http")
    try:
        full_name = await call_in_thread(socket.getfqdn)
    except OSError:  # the host has no thread left
        full_name = ""
    names = {settings.host, socket.gethostname(), full_name, "localhost", *settings.names}
    async with open_bare_nursery() as nursery:
        page = make_page(
            nursery,
            farm,
            settings,
            port=port,
            is_own=make_owner_check(_LOOK_UPS),
            names=frozenset(name.lower().rstrip(".") for name in names if name),
            report_used=report_used,
        )
        nursery.start_soon(_keep_watching, page.watch)

        def make_link(steer: bool) -> str:
            return f"{url}/login?token={page.sessions.make_token(steer=steer)}"

        task_status.started(OpenPage(url=url, make_link=make_link, watch=page.watch))
        await serve_http(make_app(page), listeners, settings.ssl_context, page.turns, page.lines)


def make_page(
    nursery: trio.Nursery,
    farm: RemoteFarm,
    settings: PageSettings,
    *,
    port: int,
    is_own: OwnerCheck,
    names: Collection[str],
    report_used: Callable[[PageSession], None] = lambda _: None,
) -> Page:
    """Make everything behind the answers; the caller runs its `watch`, `nursery` all else."""
    watch = FarmWatch(farm)
    log = ActionLog(watch.changed.set)
    page = Page(
        settings=settings,
        watch=watch,
        topics=TopicRegistry(watch, nursery, {**watch.tables, "log": log.topic}),
        sessions=SessionTable(trio.current_time),
        log=log,
        is_own=is_own,
        names=names,
        # Cookies are not kept apart by port, so their name is.
        cookie=f"{'__Host-' if settings.ssl_context else ''}trio_afrender_{port}",
        report_used=report_used,
        seats=ViewerSeats(settings.max_viewers, settings.max_viewers_per_address),
    )
    nursery.start_soon(page.lines.run)
    return page


async def _keep_watching(watch: FarmWatch) -> None:
    """Watch the farm. An error of ours must not end the farm that is in this process."""
    while True:
        try:
            await watch.run()
        except Exception:  # noqa: BLE001 - it is logged
            _log.exception("the page: watching the farm has failed, and begins again")
            watch.report_lost("internal error: the log of the program has the reason")
        await trio.sleep(_RESTART)
