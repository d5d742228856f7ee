"""``trio_afrender farm``: keeps a farm open on this machine, with agents, until a signal ends it."""

from __future__ import annotations

import logging
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import attrs
import trio

from trio_afrender.agent.agent import AgentHandle, run_agent
from trio_afrender.cli.collector_pauses import short_pauses
from trio_afrender.cli.farm_record import FarmRecord, farms_folder, open_record
from trio_afrender.cli.job_checks import (
    examine_file,
    print_warnings,
    require_job,
)
from trio_afrender.cli.load_settings import load_options
from trio_afrender.cli.local_agents import make_local_configs
from trio_afrender.cli.logging_setup import open_daemon_log
from trio_afrender.cli.metrics_option import MetricsOption, read_metrics_option
from trio_afrender.cli.open_page import open_page, plan_own_page
from trio_afrender.cli.plugin_folders import check_folders
from trio_afrender.cli.signals import ignore_signals, open_signals
from trio_afrender.cli.terminal import clean, print_line
from trio_afrender.config import Config
from trio_afrender.config.load import make_config, make_log_settings
from trio_afrender.config.settings import Token
from trio_afrender.errors import ConfigError, StoreError
from trio_afrender.farm.farm import Farm, open_farm
from trio_afrender.farm.farm_metrics import PREFIX, collect_farm
from trio_afrender.farm.json_interface import make_in_process_farm, open_requests, serve_json
from trio_afrender.jobs.job_file import JobSpec
from trio_afrender.jobs.submission import prefix_commands
from trio_afrender.metrics.families import MetricFamily
from trio_afrender.metrics.program_metrics import collect_program
from trio_afrender.private_folder import lock_folder, make_private
from trio_afrender.safe_files import write_whole
from trio_afrender.text import shorten
from trio_afrender.transport.address import NativeAddress, is_loopback
from trio_afrender.transport.bound_port import open_listeners
from trio_afrender.transport.listen_address import ListenAddress, parse_address
from trio_afrender.transport.tokens import TokenTable, make_token, read_token_file
from trio_afrender.transport.websocket_server import BoundAddress, serve_websocket
from trio_afrender.user_files import expand_home

if TYPE_CHECKING:
    from trio_afrender.web.settings import PageSettings

__all__ = ("run",)

_MANY_HOSTS = (
    "this farm serves one machine; for more hosts run an afserver and connect agents to it natively"
    " (--server af://) or through `trio_afrender gateway`"
)
_INDEX = Path("afanasy", "browser", "index.html")
_AGENTS_FILE = "agents.token"


def run(options: Namespace) -> int:
    """Keep a farm open; return 0 when a signal has ended it. Raises `AfRenderError`."""
    settings = load_options(options)
    config = make_config(settings)
    check_folders(config.plugins)
    # All that can be checked is, before anything is opened.
    port = cast("int", settings["af_serverport"])
    json = ListenAddress(host="127.0.0.1", port=port)
    if options.json is not None:
        json = parse_address("--json", options.json)
    listen = None
    if options.listen is not None:
        listen = parse_address("--listen", options.listen.removeprefix("ws://"))
    for name, address in (("--json", json), ("--listen", listen)):
        if address is not None and not is_loopback(address.host):
            raise ConfigError(f'{name} "{address.host}": not an address of loopback: {_MANY_HOSTS}')
    if options.gui is not None and not os.access(options.gui / _INDEX, os.R_OK):
        raise ConfigError(
            f"--gui {options.gui}: it has no {_INDEX}: give the folder of CGRU, where afanasy/ is"
        )
    prefix = str(settings["af_cmdprefix"])
    specs = []
    for path in options.jobs:
        spec = prefix_commands(prefix, require_job(examine_file(path, config.plugins)))
        print_warnings(spec, config.plugins)
        specs.append(attrs.evolve(spec, user_name=spec.user_name or config.user_name))
    records = farms_folder(Path(str(settings["af_store_folder"])))
    folder = expand_home(options.folder or records / f"store-{json.port}").absolute()
    farm = _OpenFarm(
        folder=folder,
        records=records,
        json=json,
        listen=listen,
        gui=options.gui,
        metrics=read_metrics_option(options),
        move_damaged=options.move_damaged,
        page=plan_own_page(options),
        user_name=config.user_name,
        host_name=config.name,
        specs=specs,
        configs=make_local_configs(config, options.agents, folder / "agents"),
    )
    level = logging.DEBUG if options.verbose else logging.INFO
    log = make_log_settings(settings)
    with ExitStack() as stack:
        make_private(folder, instead="another --store")
        stack.enter_context(lock_folder(folder, "another farm uses it: give another --store"))
        stack.enter_context(open_daemon_log("farm", log, level, times=not options.log_nodate))
        try:
            with short_pauses():
                trio.run(farm.run)
        finally:
            # A second SIGTERM of a service manager must not make a failure of an orderly end.
            ignore_signals()
    return 0


@attrs.define(slots=True, kw_only=True)
class _OpenFarm:
    """A farm with agents of its own, which signals end.

    First: agents take no new tasks and end after the running ones. Second: running tasks are
    stopped and queued again. Third, or before all is open: everything is cancelled.
    """

    folder: Path
    """The store: jobs, texts, and the stores of agents."""
    records: Path
    """This user's folder of open farms."""
    json: ListenAddress
    listen: ListenAddress | None
    gui: Path | None
    metrics: MetricsOption
    move_damaged: bool
    page: PageSettings | None
    user_name: str
    host_name: str
    """Of this user and host, for the logs of what is done on the page."""
    specs: Sequence[JobSpec]
    configs: Sequence[Config]
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _handles: list[AgentHandle] = attrs.field(factory=list)
    _open: bool = False
    _closing: trio.Event = attrs.field(factory=trio.Event)

    async def run(self) -> None:
        """Keep everything open until a signal."""
        async with open_signals(self._handle_signal):
            with self._scope:
                async with open_farm(self.folder / "farm", move_damaged=self.move_damaged) as farm:
                    await self._serve(farm)

    def _handle_signal(self, count: int, name: str) -> None:
        if not self._open or count > 2:
            self._scope.cancel()
        elif count == 1:
            print_line(
                f"{name}: no new tasks; the farm closes after the running ones, {name} again stops"
                " them"
            )
            for handle, config in zip(self._handles, self.configs, strict=True):
                if config.drain == "leave":
                    handle.leave(name)
                else:
                    handle.drain(name)
            self._closing.set()
        else:
            print_line(f"{name}: stopping the running tasks")
            for handle in self._handles:
                handle.stop_now(name)

    async def _serve(self, farm: Farm) -> None:
        token = make_token()
        async with (
            open_requests(farm, self.gui) as requests,
            trio.open_nursery() as servers,
        ):
            serve = partial(
                serve_json,
                requests,
                self.json.host,
                self.json.port,
                token=token,
            )
            await self.metrics.serve(servers, partial(self._collect, farm), PREFIX)
            bound: BoundAddress = await servers.start(serve)
            with ExitStack() as stack:
                folder = await trio.to_thread.run_sync(self._record, stack, bound, token)
                async with trio.open_nursery() as agents:
                    await self._open_agents(farm, servers, agents, folder)
                    place = NativeAddress(host=bound.host, port=bound.port).url
                    if self.page is not None:
                        own = make_in_process_farm(
                            farm,
                            requests,
                            place=place,
                            user_name=self.user_name,
                            host_name=self.host_name,
                        )
                        await open_page(servers, own, self.page)
                    sys.stdout.write(f"{place}\n")
                    sys.stdout.flush()
                    # Last: a farm that could not be opened would have them, and at the next try again.
                    for spec in self.specs:
                        number = farm.submit(spec)
                        print_line(f'job "{shorten(clean(spec.name), 100)}" is {number}')
                    names = ", ".join(config.name for config in self.configs) or "none"
                    print_line(f"the farm is open; renders: {clean(names)}; Ctrl-C closes it")
                    if self.gui is not None:
                        print_line(f"its page is {bound.url}/")
                    self._open = True
                    await self._closing.wait()
                servers.cancel_scope.cancel()

    def _collect(self, farm: Farm) -> list[MetricFamily]:
        """Return the figures of the farm, of its own agents and of this program."""
        of_agents = [figure for handle in self._handles for figure in handle.metrics()]
        return [*collect_farm(farm.state), *of_agents, *collect_program("farm")]

    def _record(self, stack: ExitStack, bound: BoundAddress, token: Token) -> Path | None:
        """Write where this farm is; return its folder, None if it cannot be written. Blocking."""
        record = FarmRecord(host=bound.host, port=bound.port, token=token.secret, pid=os.getpid())
        try:
            return stack.enter_context(open_record(self.records / str(bound.port), record))
        except StoreError as error:
            server = NativeAddress(host=bound.host, port=bound.port).url
            print_line(f"warning: {clean(str(error))}; other commands need --server {server}")
            return None

    async def _open_agents(
        self, farm: Farm, servers: trio.Nursery, agents: trio.Nursery, folder: Path | None
    ) -> None:
        tokens = TokenTable()
        for config in self.configs:
            assert config.token is not None  # noqa: S101 - `make_local_configs` sets it
            tokens.add(config.name, config.token)
        listen = self.listen or ListenAddress(host="127.0.0.1", port=0)
        if self.listen is not None:
            if folder is None:
                raise ConfigError("--listen: the file with the token of agents cannot be written")
            path = folder.parent / _AGENTS_FILE
            tokens.add("*", await trio.to_thread.run_sync(_keep_token, path))
        serve = partial(
            serve_websocket,
            farm.serve_link,
            tokens=tokens,
            host=listen.host,
            listeners=await open_listeners(listen.host, listen.port, "--listen: cannot listen on"),
        )
        bound: BoundAddress = await servers.start(serve)
        if self.listen is not None:
            print_line(
                "other agents of this machine: trio_afrender agent --server"
                f" {bound.url} --token-file {clean(str(path))}"
            )
        for config in self.configs:
            handle = await agents.start(run_agent, attrs.evolve(config, server=bound.url))
            self._handles.append(handle)


def _keep_token(path: Path) -> Token:
    """Return the token in a file, which is made when it is missing. Blocking. Raises `ConfigError`."""
    try:
        if not path.exists():
            write_whole(path, f"{make_token().secret}\n", mode=0o600)
    except OSError as error:
        raise StoreError.of(path.parent, error) from error
    return read_token_file(path)
