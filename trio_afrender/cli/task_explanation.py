"""Why a task is as it is, by what its farm knows: what it waits for, failures by render, its log."""

from __future__ import annotations

import json
import sys
from argparse import Namespace

from trio_afrender.afserver.remote_farm import RemoteFarm
from trio_afrender.cli.commands.output import find_one_task
from trio_afrender.cli.find_farm import ask_farm, find_remote_farm
from trio_afrender.cli.node_tables import states_cell, wait_object
from trio_afrender.cli.terminal import clean, write_lines
from trio_afrender.cli.text_table import Line
from trio_afrender.text import count_text, utc_time

__all__ = ("run_at_farm",)

_LOG_LINES = 20
"""Lines of the task's log that are shown."""


def run_at_farm(options: Namespace) -> int:
    """Ask a farm about the task of ``why``; return 1 if it has none. Raises `AfRenderError`."""
    return ask_farm(_explain, find_remote_farm(options), options)


async def _explain(farm: RemoteFarm, options: Namespace) -> int:
    task = await find_one_task(farm, options.task)
    if task is None:
        return 1
    job = await farm.job(task.job)
    waits = None
    if not task.running and not task.over:
        reasons = await farm.why_waiting(job)
        waits = next((each for each in reasons if each.block == task.block), None)
    log = (await farm.task_text(task, "log")).rstrip("\n").split("\n")
    hosts = (await farm.task_text(task, "error_hosts")).split("\n")
    error_hosts = [line for line in hosts if line.strip()]
    if options.json:
        data = {
            **task.to_json(),
            "job_name": job.name,
            "user_name": job.user_name,
            "why": wait_object(waits) if waits is not None else None,
            "log": log,
            "error_hosts": error_hosts,
        }
        sys.stdout.write(json.dumps(data, indent=2) + "\n")
        return 0
    names = f'task "{task.name}", block "{task.block_name}", job "{job.name}" of {job.user_name}'
    lines: list[Line] = [[(task.key, "bold"), clean(f"  {names}")]]
    facts = [f"{task.percent}%"]
    facts += [count_text(task.starts, "run") if task.starts else "not started yet"]
    facts += [count_text(task.errors, "error")] if task.errors else []
    facts += [f"on {task.render}"] if task.render else []
    if task.changed and task.over:
        facts.append(f"ended {utc_time(task.changed)}")
    lines.append(["  ", *states_cell(task.states), clean(f"  {', '.join(facts)}")])
    if waits is not None:
        lines.append(["  It waits:"])
        lines += [["    ", clean(text)] for text in waits.sentences]
    if error_hosts:
        lines.append(["  Errors:"])
        lines += [["    ", clean(text)] for text in error_hosts]
    if written := [line for line in log if line.strip()]:
        left = len(written) - _LOG_LINES
        lines.append([f"  Its log, {left} lines left out:" if left > 0 else "  Its log:"])
        lines += [["    ", clean(text)] for text in written[-_LOG_LINES:]]
    write_lines(lines)
    sys.stdout.flush()
    return 0
