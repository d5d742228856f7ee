"""``trio_afrender agent``: runs one render until it is drained."""

from __future__ import annotations

import linecache
import logging
import signal
from argparse import Namespace
from pathlib import Path

import attrs
import trio

from trio_afrender.agent.agent import AgentHandle, run_agent
from trio_afrender.agent.agent_counters import PREFIX
from trio_afrender.cli.load_settings import load_options
from trio_afrender.cli.logging_setup import open_daemon_log
from trio_afrender.cli.malloc import limit_malloc_arenas
from trio_afrender.cli.metrics_option import MetricsOption, read_metrics_option
from trio_afrender.cli.plugin_folders import check_folders
from trio_afrender.cli.run_command import run_by_shell
from trio_afrender.cli.signals import ignore_signals, open_signals
from trio_afrender.cli.systemd_notify import report_to_manager
from trio_afrender.cli.terminal import clean, print_line
from trio_afrender.config import Config
from trio_afrender.config.load import make_config, make_log_settings
from trio_afrender.errors import ConfigError
from trio_afrender.metrics.families import MetricFamily
from trio_afrender.metrics.program_metrics import collect_program
from trio_afrender.process.oom_score import protect
from trio_afrender.supervisor.cgroup import move_self_to_subcgroup
from trio_afrender.transport.address import is_loopback
from trio_afrender.transport.tokens import read_token_file

__all__ = ("run",)


def run(options: Namespace) -> int:
    """Run the agent; return 0 when it is drained. Raises what `run_agent` raises, `ConfigError`."""
    limit_malloc_arenas()
    # attrs keeps the source of the methods that it makes for tracebacks: 0.8 MB.
    linecache.clearcache()
    settings = load_options(options)
    config = make_config(settings)
    if options.cmd is not None:
        run_by_shell(config.shell, options.cmd)
    if not config.server:
        raise ConfigError(
            "no server: give --server af://HOST:PORT or wss://HOST:PORT, or set af_servername in "
            'a config file ("cgru_config": {"af_servername": ...})'
        )
    # The files that CGRU ships make this host the server. On a render host that means that the site's
    # own config file was not found.
    host = settings.values["af_servername"]
    ours = settings.values["server"].origin.startswith("af_servername")
    if ours and host.origin.startswith("file ") and is_loopback(str(host.value)):
        print_line(
            f"warning: the server is this host, because {clean(host.origin)} sets af_servername to"
            f" {host.value}; give --server, or set it in the site's config file"
        )
    check_folders(config.plugins)
    metrics = read_metrics_option(options)
    token_file = str(settings["trio_afrender.token_file"])
    token = read_token_file(Path(token_file)) if token_file else None
    config = attrs.evolve(config, token=token)
    if options.no_redirect:
        config = attrs.evolve(config, console=True)
    # These change the whole process, which an embedded agent must not do: so they are here.
    protect()
    move_self_to_subcgroup()
    level = logging.DEBUG if options.verbose else logging.INFO
    log = make_log_settings(settings)
    with open_daemon_log("agent", log, level, times=not options.log_nodate):
        try:
            trio.run(_AgentProgram(config, metrics).run)
        finally:
            # A second SIGTERM of a service manager must not make a failure of an orderly end.
            ignore_signals()
    return 0


@attrs.define(slots=True)
class _AgentProgram:
    """Runs an agent, and passes signals on to it.

    First signal: drain (or leave). Second: stop tasks now. Third, or before the start: cancel.
    """

    config: Config
    metrics: MetricsOption
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _handle: AgentHandle | None = None

    async def run(self) -> None:
        """Run the agent to its end. Raises what `run_agent` raises."""
        async with open_signals(self.handle_signal):
            with self._scope:
                async with trio.open_nursery() as servers:
                    # Before the agent: a port in use is found before a task has been taken.
                    await self.metrics.serve(servers, self.collect, PREFIX)
                    async with trio.open_nursery() as nursery:
                        handle: AgentHandle = await nursery.start(run_agent, self.config)
                        self._handle = handle
                        nursery.start_soon(report_to_manager, handle)
                        servers.start_soon(self._leave_on_sigusr1, handle)
                    servers.cancel_scope.cancel()

    @property
    def _leaving(self) -> str:
        return "leaving; running tasks " + (
            "continue under the supervisor"
            if self.config.supervisor
            else "are stopped and given back"
        )

    async def _leave_on_sigusr1(self, handle: AgentHandle) -> None:
        """On SIGUSR1 end the agent and leave its tasks to the supervisor, for an update of the agent."""
        number: signal.Signals | None = getattr(signal, "SIGUSR1", None)
        if number is None:  # Windows has none, and no supervisor to leave a task to
            return
        with trio.open_signal_receiver(number) as signals:
            async for _ in signals:
                print_line(f"SIGUSR1: {self._leaving}")
                handle.leave("SIGUSR1")

    def collect(self) -> list[MetricFamily]:
        """Return the figures of the agent, once it has started, and of this program."""
        of_agent = self._handle.metrics() if self._handle is not None else ()
        return [*of_agent, *collect_program("agent")]

    def handle_signal(self, count: int, name: str) -> None:
        if self._handle is None or count > 2:
            self._scope.cancel()
        elif count == 1 and self.config.drain == "leave":
            print_line(f"{name}: {self._leaving}")
            self._handle.leave(name)
        elif count == 1:
            print_line(
                f"{name}: no new tasks; the agent ends after the running ones, {name} again stops them"
            )
            self._handle.drain(name)
        else:
            print_line(f"{name}: stopping the running tasks")
            self._handle.stop_now(name)
