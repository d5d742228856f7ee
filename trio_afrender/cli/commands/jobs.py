"""``trio_afrender jobs``: the jobs of a farm; with ``--why`` what their waiting tasks wait for."""

from __future__ import annotations

import time
from argparse import Namespace

from trio_afrender.afserver.node_selection import select_nodes
from trio_afrender.cli.find_farm import find_remote_farm
from trio_afrender.cli.node_tables import (
    job_object,
    jobs_table,
    wait_lines,
    wait_object,
)
from trio_afrender.cli.repeated_display import Shown, display
from trio_afrender.cli.terminal import clean, print_line
from trio_afrender.cli.text_table import Line
from trio_afrender.errors import JobGone
from trio_afrender.text import count_text

__all__ = ("run",)


def run(options: Namespace) -> int:
    """Print the jobs; return 1 if a word selects none. Raises `AfRenderError`."""
    farm = find_remote_farm(options)
    problems: list[str] = []

    async def fetch(width: int) -> Shown:
        problems[:] = []
        jobs = sorted(await farm.jobs(), key=lambda job: job.id)
        if options.names:
            jobs, missed = select_nodes(jobs, options.names, "job")
            problems.extend(missed)
        elif not options.all:
            jobs = [job for job in jobs if not (job.is_system or job.hidden)]
        if options.of_user is not None:
            jobs = [job for job in jobs if job.user_name == options.of_user]
        if options.why and not options.names:
            jobs = [job for job in jobs if "DON" not in job.states]
        now = time.time()
        if not options.why:
            table = jobs_table(jobs, now, width)
            done = sum("DON" in job.states for job in jobs)
            failed = sum("ERR" in job.states for job in jobs)
            running = count_text(sum(job.count("running") for job in jobs), "running task")
            text = f"{count_text(len(jobs), 'job')}, {done} done, {failed} with errors, {running}"
            return Shown([*table, [(text, "dim")]], [job_object(job) for job in jobs])
        lines: list[Line] = []
        data = []
        for job in jobs:
            try:
                reasons = await farm.why_waiting(job)
            except JobGone:
                continue
            lines += [*jobs_table([job], now, width)[1:], *wait_lines(job, reasons)]
            data.append({**job_object(job), "why": [wait_object(each) for each in reasons]})
        return Shown(lines, data)

    display(fetch, as_json=options.json, watch=options.watch)
    print_line(*(f"trio_afrender: {clean(each)}" for each in problems))
    return 1 if problems else 0
