"""``trio_afrender submit``: sends a job file to a farm; ``--wait`` follows it to its end."""

from __future__ import annotations

import platform
import sys
from argparse import Namespace
from typing import Any

import attrs
import trio

from trio_afrender.afserver.job_follower import RemoteJob
from trio_afrender.afserver.remote_farm import RemoteFarm
from trio_afrender.cli.find_farm import choose_farm, complete_server
from trio_afrender.cli.job_checks import examine_file, list_unparsed, require_job
from trio_afrender.cli.job_progress import open_progress
from trio_afrender.cli.load_settings import load_options
from trio_afrender.cli.progress_display import Screen, choose_screen
from trio_afrender.cli.report_file import check_reports, raise_first, write_reports
from trio_afrender.cli.signals import ignore_signals, open_signals
from trio_afrender.cli.summary import summarize
from trio_afrender.cli.terminal import clean, print_line, print_lines
from trio_afrender.config.load import make_config
from trio_afrender.errors import ConfigError, LinkRefused
from trio_afrender.jobs.job_file import JobSpec, unwrap
from trio_afrender.jobs.submission import make_submission
from trio_afrender.jobs.views import JobView
from trio_afrender.path_map import PathMap

__all__ = ("run",)


def run(options: Namespace) -> int:
    """Send a job file; return 0 if the server has it, with ``--wait`` if it is done, else 1.

    Raises `AfRenderError`.
    """
    examined = examine_file(options.job, None)
    spec = require_job(examined)
    complete_server(options)
    settings = load_options(options)
    config = make_config(settings)
    farm = choose_farm(settings, config, given=bool(options.server))
    reports = check_reports(options.report)
    if reports and not options.wait:
        raise ConfigError("--report needs the end of the job: give --wait, too")
    message = make_submission(
        unwrap(examined.data),
        spec,
        user_name=config.user_name,
        host_name=config.name,
        prefix=str(settings["af_cmdprefix"]),
        to_server=PathMap(config.paths_map, windows=platform.system() == "Windows").to_server,
        own_farm=bool(farm.token),
    )
    for note in spec.notes:
        print_line(f"warning: {clean(note)}")
    screen = choose_screen(quiet=options.no_progress, unparsed=list_unparsed(spec))
    submission = _Submission(spec, message, farm, screen, wait=options.wait, texts=bool(reports))
    trio.run(submission.run)
    ignore_signals()
    if not submission.number:
        print_line("interrupted: check on the server whether it has the job")
        return 1
    if not submission.wait:
        return 0
    if submission.view is None:
        lost = "; no report was written, it needs the end of the job" if reports else ""
        print_line(f"no longer waiting: job {submission.number} continues on the server{lost}")
        return 1
    print_lines(summarize(submission.view))
    raise_first(write_reports(submission.view, reports))
    return 0 if submission.view.state == "done" else 1


@attrs.define(slots=True)
class _Submission:
    """Sends and follows a job. `number` is its id on the server, `view` the job at its end."""

    spec: JobSpec
    message: dict[str, Any]
    farm: RemoteFarm
    screen: Screen
    wait: bool
    texts: bool
    """Whether to fetch logs and outputs of all tasks at the end."""
    number: int = 0
    view: JobView | None = None

    async def run(self) -> None:
        """Send the job and, if asked to, wait for its end; a signal ends the waiting."""
        waiting = trio.CancelScope()
        async with open_signals(lambda _count, _name: waiting.cancel()):
            with waiting:
                answer = await self.farm.ask(self.message)
                number, serial = answer.get("id"), answer.get("serial")
                if not isinstance(number, int) or not isinstance(serial, int) or number <= 0:
                    raise LinkRefused(str(answer.get("error", "the server created no job")))
                self.number = number
                # First: a stdout that takes nothing must not hide that the server has the job.
                print_line(f'job "{clean(self.spec.name)}" is {number} on {self.farm.url}')
                sys.stdout.write(f"{number}\n")
                sys.stdout.flush()
                if self.wait:
                    job = RemoteJob(self.farm, self.spec, number, serial)
                    async with open_progress(job, number, self.screen, self.spec):
                        view = await job.follow()
                    if self.texts:
                        await job.fetch_texts(view.tasks)
                    self.view = view
