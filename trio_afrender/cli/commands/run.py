"""``trio_afrender run``: runs one job with an embedded farm and agents in this process."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import trio

from trio_afrender.agent.agent import AgentHandle, run_agent
from trio_afrender.cli.collector_pauses import short_pauses
from trio_afrender.cli.impossible_blocks import (
    describe_renders,
    end_when_stuck,
)
from trio_afrender.cli.job_checks import (
    list_unparsed,
    print_warnings,
    read_one_job,
)
from trio_afrender.cli.job_contact_sheet import check_sheet, write_sheet
from trio_afrender.cli.job_preview import make_plan, skip_others, write_plan
from trio_afrender.cli.job_progress import open_progress
from trio_afrender.cli.load_settings import load_options
from trio_afrender.cli.local_agents import make_local_configs
from trio_afrender.cli.logging_setup import logging_to
from trio_afrender.cli.open_page import open_page, plan_own_page
from trio_afrender.cli.plugin_folders import check_folders
from trio_afrender.cli.progress_display import Screen, choose_screen
from trio_afrender.cli.report_file import check_reports, raise_first, write_reports
from trio_afrender.cli.run_directory import RunDirectory, open_run_directory
from trio_afrender.cli.signals import ignore_signals, open_signals
from trio_afrender.cli.summary import summarize
from trio_afrender.cli.task_output import follow_tasks, listen_from_start
from trio_afrender.cli.terminal import clean, print_line, print_lines
from trio_afrender.config import Config
from trio_afrender.config.load import make_config
from trio_afrender.farm.farm import Farm, FarmSettings, open_farm
from trio_afrender.farm.json_interface import keep_requests, make_in_process_farm
from trio_afrender.farm.user_requests import pause_job
from trio_afrender.jobs.job_file import JobSpec, read_job
from trio_afrender.jobs.submission import prefix_commands
from trio_afrender.jobs.task_choice import (
    TaskPlace,
    choose_by_name,
    choose_unfinished,
    only_chosen,
)
from trio_afrender.jobs.views import JobView
from trio_afrender.transport.tokens import TokenTable
from trio_afrender.transport.websocket_server import BoundAddress, serve_websocket

if TYPE_CHECKING:
    from trio_afrender.web.settings import PageSettings

__all__ = ("run",)


def run(options: Namespace) -> int:
    """Run a job; return 0 if all of it is done, else 1. Raises `AfRenderError`."""
    settings = load_options(options)
    config = make_config(settings)
    check_folders(config.plugins)
    spec = read_one_job(options, config.plugins).unattended()
    spec = prefix_commands(str(settings["af_cmdprefix"]), spec).within(config.capacity)
    # None: all tasks.
    chosen = choose_by_name(spec, options.only) if options.only else None
    if options.only_failed is not None:
        report = read_job(options.only_failed)
        unfinished = choose_unfinished(spec, report, str(options.only_failed))
        chosen = unfinished if chosen is None else chosen & unfinished
    followed = _choose_followed(spec, options)
    reports, sheet = check_reports(options.report), check_sheet(options.sheet)
    page = plan_own_page(options)
    print_warnings(spec, config.plugins)
    if options.dry_run:
        plan = make_plan(spec, describe_renders(config, options.agents), chosen)
        return 0 if write_plan(plan, spec, config) else 1
    if chosen is not None and not chosen:
        print_line(f"nothing to run: all chosen tasks are done in {options.only_failed}")
        return 0
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(2, options.verbose)]
    screen = choose_screen(quiet=options.no_progress, unparsed=list_unparsed(spec))
    with (
        open_run_directory(
            options.store,
            keep_farm=options.keep or (bool(reports) and options.store is not None),
            keep_store=options.keep,
            passable=bool(config.tasks.user),
        ) as directory,
        logging_to(screen.line, level),
    ):
        job_run = _JobRun(
            spec=spec,
            configs=_make_configs(config, options.agents, directory, keep=options.keep),
            settings=FarmSettings(errors_retries=options.retries),
            directory=directory,
            screen=screen,
            chosen=chosen,
            followed=followed,
            page=page,
        )
        try:
            with short_pauses():
                trio.run(job_run.run)
        finally:
            # The signals may have ended the job; they must not end the summary and the report.
            ignore_signals()
            if job_run.view is not None:
                _write_results(job_run.view, job_run, reports, sheet)
    if job_run.view is None:
        print_line("interrupted before the job started")
        return 1
    return 0 if job_run.view.state == "done" else 1


def _choose_followed(spec: JobSpec, options: Namespace) -> frozenset[TaskPlace]:
    """Return the tasks whose output is shown."""
    if options.follow:
        return choose_by_name(spec, [options.follow], option="--follow")
    if options.follow is None and not options.verbose:
        return frozenset()
    blocks = enumerate(spec.blocks)
    return frozenset((number, task) for number, b in blocks for task in range(b.task_count))


def _make_configs(
    config: Config, agents: int, directory: RunDirectory, *, keep: bool
) -> list[Config]:
    """Return the settings of each agent: those of this host, without its settings for a farm."""
    return [
        attrs.evolve(
            each,
            nimby="",
            services=(),
            keep_runs=keep,
            # The farm ends with this process: no task may wait for another agent.
            timing=attrs.evolve(config.timing, unattended=0.0),
        )
        for each in make_local_configs(config, agents, directory.store)
    ]


@attrs.define(slots=True, kw_only=True)
class _JobRun:
    """Runs one job. `view` is the job at its end, None if it never started."""

    spec: JobSpec
    configs: Sequence[Config]
    settings: FarmSettings
    directory: RunDirectory
    screen: Screen
    page: PageSettings | None
    chosen: frozenset[TaskPlace] | None
    followed: frozenset[TaskPlace]
    view: JobView | None = None
    _running: tuple[Farm, int, Sequence[AgentHandle]] | None = None
    """The farm, the id of the job and the agents, once the job has been submitted."""

    async def run(self) -> None:
        """Run the job to its end. Raises what agents and farm raise, in groups; no process stays.

        First signal: running tasks finish, no others start. Second: running tasks are stopped. Third,
        or before the start: all is cancelled.
        """
        scope = trio.CancelScope()

        def handle_signal(count: int, name: str) -> None:
            if self._running is None or count > 2:
                scope.cancel()
                return
            farm, job, handles = self._running
            if count == 1:
                self.screen.line(
                    f"{name}: running tasks finish, no others start; {name} again stops them"
                )
                farm.drain_job(job, name)
                return
            self.screen.line(f"{name}: stopping the running tasks")
            farm.stop_job(job, f"second {name}")
            for handle in handles:
                handle.stop_now(f"second {name}")

        async with open_signals(handle_signal):
            with scope:
                async with open_farm(
                    self.directory.farm, settings=self.settings, records=False
                ) as farm:
                    await self._run_farm(farm)

    async def _run_farm(self, farm: Farm) -> None:
        tokens = TokenTable()
        for config in self.configs:
            assert config.token is not None  # noqa: S101 - `_make_configs` sets it
            tokens.add(config.name, config.token)
        async with trio.open_nursery() as servers:
            serve = partial(serve_websocket, farm.serve_link, tokens=tokens)
            bound: BoundAddress = await servers.start(serve)
            async with trio.open_nursery() as agents:
                handles: list[AgentHandle] = [
                    await agents.start(run_agent, attrs.evolve(config, server=bound.url))
                    for config in self.configs
                ]
                if self.page is not None:
                    requests = await servers.start(keep_requests, farm)
                    config = self.configs[0]
                    own = make_in_process_farm(
                        farm,
                        requests,
                        place="the farm of this run",
                        user_name=config.user_name,
                        host_name=config.name,
                    )
                    await open_page(servers, own, self.page, say=self.screen.line)
                job = self._submit(farm)
                self._running = farm, job, handles
                try:
                    async with (
                        open_progress(farm, job, self.screen, self.spec, self.chosen),
                        trio.open_nursery() as watchers,
                    ):
                        if self.followed:
                            watchers.start_soon(follow_tasks, farm, job, self.screen, self.followed)
                        watchers.start_soon(
                            end_when_stuck, farm, job, self.spec, len(handles), self.screen.line
                        )
                        await farm.wait(job)
                finally:
                    self.view = farm.view(job)
                for handle in handles:
                    handle.drain("the job is over")
            servers.cancel_scope.cancel()

    def _submit(self, farm: Farm) -> int:
        """Submit the job; tasks that are not chosen are skipped before any of them starts."""
        if self.chosen is None and not self.followed:
            return farm.submit(self.spec)
        job = farm.submit(attrs.evolve(self.spec, offline=True))
        record, now = farm.state.find_job(job), trio.current_time()
        if self.chosen is not None:
            skip_others(farm.state, record, self.chosen, now)
        listen_from_start(farm, job, self.followed)
        pause_job(farm.state, record, on=False)
        farm.dispatch()
        return job


def _write_results(
    view: JobView, job_run: _JobRun, reports: Sequence[Path], sheet: Path | None
) -> None:
    """Write summary, sheet and reports, also after an interruption or an error.

    Raises `ConfigError` at the end for what cannot be written.
    """
    directory = job_run.directory
    print_lines(summarize(only_chosen(view, job_run.chosen)))
    problems = write_sheet(view, sheet) if sheet is not None else []
    problems += write_reports(view, reports)
    if reports and any(task.files for task in view.tasks):
        # Reports have the texts. Thumbnails they name by their paths: these alone are a reason to leave
        # a folder that was not asked for.
        directory.keep_farm = True
    if directory.keep_farm:
        print_line(f"logs, output and thumbnails: {clean(str(directory.farm / str(view.id)))}")
    elif view.state != "done" and not reports:
        print_line("logs were not kept: --keep keeps them")
    if directory.keep_store:
        print_line(f"folders of tasks: {clean(str(directory.store))}")
    raise_first(problems)
