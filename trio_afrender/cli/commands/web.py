"""``trio_afrender web``: serves the page of a farm to browsers, until a signal ends it."""

from __future__ import annotations

import logging
import sys
from argparse import Namespace
from typing import TYPE_CHECKING

import attrs
import trio

from trio_afrender.afserver.remote_farm import RemoteFarm
from trio_afrender.cli.collector_pauses import short_pauses
from trio_afrender.cli.find_farm import choose_farm, complete_server
from trio_afrender.cli.load_settings import load_options
from trio_afrender.cli.logging_setup import open_daemon_log
from trio_afrender.cli.open_page import open_page, plan_page
from trio_afrender.cli.signals import open_signals
from trio_afrender.cli.terminal import print_line
from trio_afrender.config.load import make_config, make_log_settings

if TYPE_CHECKING:
    from trio_afrender.web.settings import PageSettings

__all__ = ("run",)


def run(options: Namespace) -> int:
    """Serve the page; return 0 when a signal has ended it. Raises `AfRenderError`."""
    settings = plan_page("--listen", options.listen, options, own_farm=False)
    complete_server(options)
    values = load_options(options)
    farm = choose_farm(values, make_config(values), given=bool(options.server))
    settings = attrs.evolve(settings, own_farm=bool(farm.token))
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(2, options.verbose)]
    log = make_log_settings(values)
    with open_daemon_log("web", log, level, times=not options.log_nodate):
        with short_pauses():
            trio.run(_serve, farm, settings, options)
    return 0


async def _serve(farm: RemoteFarm, settings: PageSettings, options: Namespace) -> None:
    scope = trio.CancelScope()
    async with open_signals(lambda _count, _name: scope.cancel()):
        with scope:
            async with trio.open_nursery() as nursery:
                address = await open_page(nursery, farm, settings, browse=options.open)
                sys.stdout.write(f"{address}\n")
                sys.stdout.flush()
                print_line("Ctrl-C ends it")
