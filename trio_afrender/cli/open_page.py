"""The page of a farm for the commands ``web``, ``farm`` and ``run``: options, links, messages.

Starlette and Hypercorn are an extra and take long to import, so the functions that need them import them.
"""

from __future__ import annotations

import importlib.util
import webbrowser
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import trio

from trio_afrender.afserver.remote_farm import RemoteFarm
from trio_afrender.cli.terminal import clean, print_line
from trio_afrender.errors import ConfigError
from trio_afrender.extras import how_to_install
from trio_afrender.tasklog.io_threads import call_in_thread
from trio_afrender.transport.listen_address import parse_address

if TYPE_CHECKING:
    from trio_afrender.web.serve_page import OpenPage
    from trio_afrender.web.sessions import PageSession
    from trio_afrender.web.settings import PageSettings

__all__ = ("open_page", "plan_own_page", "plan_page")

_BROWSER_STARTS = 60.0
"""Seconds until a browser has read the file that it was started with."""
_NEEDED = ("starlette", "hypercorn")


def plan_own_page(options: Namespace) -> PageSettings | None:
    """Check the options of a page that a command serves beside its work; None: it serves none.

    Raises `ConfigError`, also for options of a page that is not served: they would protect nothing.
    """
    if options.web is not None:
        return plan_page("--web", options.web, options, own_farm=True)
    for option, value in (
        ("--cert", options.cert),
        ("--key", options.key),
        ("--read-only", options.read_only),
        ("--host-name", options.names_of_host),
    ):
        if value:
            raise ConfigError(f"{option} is for the page: give --web, too")
    return None


def plan_page(option: str, address: str, options: Namespace, *, own_farm: bool) -> PageSettings:
    """Check the options of a page before anything is opened. Raises `ConfigError`."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"the page needs {' and '.join(missing)}; {how_to_install('web')}")
    from trio_afrender.web.serve_page import check_address
    from trio_afrender.web.settings import PageSettings

    listen = parse_address(option, address)
    return PageSettings(
        host=listen.host,
        port=listen.port,
        ssl_context=check_address(listen.host, options.cert, options.key),
        names=tuple(options.names_of_host),
        read_only=options.read_only,
        own_farm=own_farm,
    )


async def open_page(
    nursery: trio.Nursery,
    farm: RemoteFarm,
    settings: PageSettings,
    *,
    browse: bool = False,
    say: Callable[[str], None] = print_line,
) -> str:
    """Serve a page in a nursery, and show its links by `say`. Returns its address.

    Raises `ConfigError` for an address that cannot be bound.
    """
    from trio_afrender.web.serve_page import serve_page

    def follow_used(session: PageSession) -> None:
        say(_describe_link(page.make_link(session.steer), steer=session.steer))

    page: OpenPage = await nursery.start(
        partial(serve_page, farm, settings, report_used=follow_used)
    )
    say(f"the page of {clean(farm.url)} is {clean(page.url)}/")
    for steer in (False,) if settings.read_only else (True, False):
        say(_describe_link(page.make_link(steer), steer=steer))
    if browse and settings.ssl_context is None:
        # On loopback the browser needs no link: it is one of this user.
        nursery.start_soon(_start_browser, f"{page.url}/", say)
    elif browse:
        nursery.start_soon(_browse_by_file, page.make_link(not settings.read_only), say)
    return f"{page.url}/"


async def _start_browser(url: str, say: Callable[[str], None]) -> None:
    # Some browsers, as those of terminals, are over only when their user closes them.
    call = partial(webbrowser.open, url)
    try:
        await call_in_thread(call, abandon=True, limiter=trio.CapacityLimiter(1))
    except OSError as error:  # the host has no thread left: the page is served all the same
        say(f"warning: the browser is not opened: {error.strerror or error}")


async def _browse_by_file(link: str, say: Callable[[str], None]) -> None:
    """Open a link in the browser by a file that only this user can read: other users of the host
    can read the arguments of programs."""
    text = f'<!doctype html><meta http-equiv="refresh" content="0; url={escape(link)}">'
    try:
        with TemporaryDirectory(prefix="trio_afrender-page-") as folder:  # mode 0700
            path = Path(folder, "open.html")
            await call_in_thread(partial(path.write_text, text, encoding="utf-8"))
            await _start_browser(path.as_uri(), say)
            await trio.sleep(_BROWSER_STARTS)
    except OSError as error:  # a full disk: the page is served all the same
        say(f"warning: the browser is not opened: {error.strerror or error}")


def _describe_link(link: str, *, steer: bool) -> str:
    what = "to steer" if steer else "to look only"
    return f"  {what}, for one other browser: {clean(link)}"
