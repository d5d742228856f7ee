"""Why a task is as it is, by what its farm knows: what it waits for, failures by render, its log."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Sequence

import attrs

from trio_afrender.afserver.remote_farm import RemoteFarm
from trio_afrender.afserver.remote_nodes import JobNode, TaskNode
from trio_afrender.afserver.wait_reasons import WaitReasons
from trio_afrender.cli.commands.output import find_one_task
from trio_afrender.cli.find_farm import ask_farm, find_remote_farm
from trio_afrender.cli.node_tables import states_cell, wait_object
from trio_afrender.cli.terminal import clean, write_line
from trio_afrender.cli.text_table import Line
from trio_afrender.text import count_text, utc_time

__all__ = ("run_at_farm",)

_LOG_LINES = 20
"""Lines of the task's log that are shown."""


@attrs.frozen(slots=True, kw_only=True)
class _Explanation:
    job: JobNode
    task: TaskNode
    waits: WaitReasons | None
    log: Sequence[str]
    error_hosts: Sequence[str]


def run_at_farm(options: Namespace) -> int:
    """Ask a farm about the task of ``why``; return 1 if it has none. Raises `AfRenderError`."""
    found = ask_farm(_explain, find_remote_farm(options), options.task)
    if found is None:
        return 1
    if options.json:
        data = {
            **found.task.to_json(),
            "job_name": found.job.name,
            "user_name": found.job.user_name,
            "why": wait_object(found.waits) if found.waits is not None else None,
            "log": list(found.log),
            "error_hosts": list(found.error_hosts),
        }
        sys.stdout.write(json.dumps(data, indent=2) + "\n")
        return 0
    for line in _describe(found):
        write_line(*line)
    sys.stdout.flush()
    return 0


async def _explain(farm: RemoteFarm, word: str) -> _Explanation | None:
    task = await find_one_task(farm, word)
    if task is None:
        return None
    job = await farm.job(task.job)
    waits = None
    if not task.running and not task.over:
        reasons = await farm.why_waiting(job)
        waits = next((each for each in reasons if each.block == task.block), None)
    return _Explanation(
        job=job,
        task=task,
        waits=waits,
        log=(await farm.task_text(task, "log")).rstrip("\n").split("\n"),
        error_hosts=[
            line for line in (await farm.task_text(task, "error_hosts")).split("\n") if line.strip()
        ],
    )


def _describe(found: _Explanation) -> Sequence[Line]:
    task, job = found.task, found.job
    names = f'task "{task.name}", block "{task.block_name}", job "{job.name}" of {job.user_name}'
    lines: list[Line] = [[(task.key, "bold"), clean(f"  {names}")]]
    facts = [f"{task.percent}%"]
    facts += [count_text(task.starts, "run") if task.starts else "not started yet"]
    facts += [count_text(task.errors, "error")] if task.errors else []
    facts += [f"on {task.render}"] if task.render else []
    if task.changed and task.over:
        facts.append(f"ended {utc_time(task.changed)}")
    lines.append(["  ", *states_cell(task.states), clean(f"  {', '.join(facts)}")])
    if found.waits is not None:
        lines.append(["  It waits:"])
        lines += [["    ", clean(text)] for text in found.waits.sentences]
    if found.error_hosts:
        lines.append(["  Errors:"])
        lines += [["    ", clean(text)] for text in found.error_hosts]
    log = [line for line in found.log if line.strip()]
    if log:
        left = len(log) - _LOG_LINES
        lines.append([f"  Its log, {left} lines left out:" if left > 0 else "  Its log:"])
        lines += [["    ", clean(text)] for text in log[-_LOG_LINES:]]
    return lines
