"""``trio_afrender run``: a farm and its agents in this process, for one job, to its end."""

from __future__ import annotations

import logging
import platform
import re
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import trio

from trio_afrender.agent.agent import AgentHandle, run_agent
from trio_afrender.cli.job_checks import check_folders, check_plugins, print_warnings
from trio_afrender.cli.job_contact_sheet import check_sheet, write_sheet
from trio_afrender.cli.job_progress import open_progress
from trio_afrender.cli.load_settings import load_options
from trio_afrender.cli.logging_setup import logging_to
from trio_afrender.cli.report_file import check_report, write_report
from trio_afrender.cli.run_directory import RunDirectory, open_run_directory
from trio_afrender.cli.screens import Screen, choose_screen
from trio_afrender.cli.signals import ignore_signals, watch_signals
from trio_afrender.cli.summary import summarize
from trio_afrender.cli.terminal import clean, print_line
from trio_afrender.config import Config
from trio_afrender.config.build import make_config
from trio_afrender.farm.farm import Farm, FarmSettings, open_farm
from trio_afrender.jobs.job_file import JobSpec, load_job
from trio_afrender.jobs.submission import prefix_commands
from trio_afrender.jobs.views import JobView
from trio_afrender.transport.tokens import TokenTable, make_token
from trio_afrender.transport.websocket_server import BoundAddress, serve_websocket

__all__ = ("run",)


def run(options: Namespace) -> int:
    """Run a job file; 0 when all of it is done, 1 when not. Raises `AfRenderError`."""
    spec = load_job(options.job)
    settings = load_options(options)
    spec = prefix_commands(str(settings["af_cmdprefix"]), spec)
    config = make_config(settings)
    check_folders(config.plugins)
    check_plugins(spec, config.plugins)
    report, sheet = check_report(options.report), check_sheet(options.sheet)
    print_warnings(spec)
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(2, options.verbose)]
    screen = choose_screen(quiet=options.no_progress)
    with (
        open_run_directory(
            options.store, keep_farm=options.keep or bool(report), keep_store=options.keep
        ) as room,
        logging_to(screen.line, level),
    ):
        configs = _make_configs(config, options.agents, spec, room, keep=options.keep)
        play = _JobRun(spec, configs, FarmSettings(errors_retries=options.retries), room, screen)
        try:
            trio.run(play.run)
        finally:
            ignore_signals()
            if play.view is not None:
                _conclude(play.view, room, report, sheet)
    if play.view is None:
        print_line("interrupted before the job started")
        return 1
    return 0 if play.view.state == "done" else 1


def _make_configs(
    config: Config, agents: int, spec: JobSpec, room: RunDirectory, *, keep: bool
) -> list[Config]:
    """Return the settings of each agent: this host's, without what makes it part of a farm."""
    host = re.sub(r"[^A-Za-z0-9-]+", "-", platform.node().partition(".")[0]).strip("-") or "host"
    largest = max(block.capacity for block in spec.blocks)
    return [
        attrs.evolve(
            config,
            name=host if agents == 1 else f"{host}-{number + 1}",
            token=make_token(),
            ca_file=None,
            store=room.store,
            nimby="",
            services=(),
            capacity=max(config.capacity, largest),
            keep_runs=keep,
            subreaper=True,
            timing=attrs.evolve(config.timing, unattended=0.0),
        )
        for number in range(agents)
    ]


@attrs.define(slots=True)
class _JobRun:
    """The whole of a run. `view` is the job as it ended, None if it never started."""

    spec: JobSpec
    configs: Sequence[Config]
    settings: FarmSettings
    room: RunDirectory
    screen: Screen
    view: JobView | None = None
    _end: Callable[[int, str], None] | None = None

    async def run(self) -> None:
        """Raises what agents and farm raise, in groups. Leaves no process behind."""
        async with trio.open_nursery() as outer:
            scope = trio.CancelScope()
            await outer.start(watch_signals, lambda count, name: self._signal(scope, count, name))
            try:
                with scope:
                    async with open_farm(self.room.farm, settings=self.settings) as farm:
                        await self._run_farm(farm)
            finally:
                outer.cancel_scope.cancel()

    def _signal(self, scope: trio.CancelScope, count: int, name: str) -> None:
        if self._end is None or count > 2:
            scope.cancel()
        else:
            self._end(count, name)

    async def _run_farm(self, farm: Farm) -> None:
        tokens = TokenTable()
        for config in self.configs:
            assert config.token is not None  # noqa: S101 - made so above
            tokens.add(config.name, config.token)
        async with trio.open_nursery() as servers:
            bound: BoundAddress = await servers.start(_serve, farm, tokens)
            async with trio.open_nursery() as agents:
                handles: list[AgentHandle] = [
                    await agents.start(run_agent, attrs.evolve(config, server=bound.url))
                    for config in self.configs
                ]
                job = farm.submit(self.spec)
                self._end = _RunShutdown(farm, job, handles, self.screen).signal
                try:
                    async with open_progress(farm, job, self.screen):
                        await farm.wait(job)
                finally:
                    self.view = farm.view(job)
                for handle in handles:
                    handle.drain("the job is over")
            servers.cancel_scope.cancel()


async def _serve(
    farm: Farm,
    tokens: TokenTable,
    task_status: trio.TaskStatus[BoundAddress] = trio.TASK_STATUS_IGNORED,
) -> None:
    await serve_websocket(farm.serve_link, tokens=tokens, task_status=task_status)


@attrs.frozen(slots=True)
class _RunShutdown:
    """First signal: running tasks finish, no others start. Second: they are stopped now."""

    farm: Farm
    job: int
    handles: Sequence[AgentHandle]
    screen: Screen

    def signal(self, count: int, name: str) -> None:
        if count == 1:
            self.screen.line(
                f"{name}: running tasks finish, no others start; {name} again stops them"
            )
            self.farm.drain_job(self.job, name)
        else:
            self.screen.line(f"{name}: stopping the running tasks")
            self.farm.stop_job(self.job, f"second {name}")
            for handle in self.handles:
                handle.stop_now(f"second {name}")


def _conclude(view: JobView, room: RunDirectory, report: Path | None, sheet: Path | None) -> None:
    """Write report, sheet and summary, whatever the end was."""
    print_line(*summarize(view))
    if sheet is not None:
        write_sheet(view, sheet)
    if report is not None:
        write_report(view, report)
    if room.keep_farm:
        print_line(f"logs, output and thumbnails: {clean(str(room.farm / str(view.id)))}")
    elif view.state != "done":
        print_line("logs were not kept: --keep keeps them")
    if room.keep_store:
        print_line(f"folders of tasks: {clean(str(room.store))}")
