"""Tables and JSON of renders, jobs and tasks of a farm, for terminals and for scripts. Pure.

The fields of the JSON are a promise to scripts: new ones may be added, none change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trio_afrender.afserver.remote_nodes import (
    JobNode,
    RenderNode,
    TaskNode,
    integer_of,
    text_of,
    texts_of,
)
from trio_afrender.afserver.wait_reasons import WaitReasons
from trio_afrender.cli.terminal import Part
from trio_afrender.cli.text_table import Cell, Column, Line, layout
from trio_afrender.text import count_text

__all__ = (
    "age_text",
    "job_object",
    "jobs_table",
    "render_object",
    "renders_table",
    "states_cell",
    "tasks_table",
    "wait_lines",
    "wait_object",
)

_COLOURS = {
    "RUN": "cyan", "DON": "green", "ERR": "red", "SIC": "red", "OFF": "dim", "SKP": "dim green",
    "NbY": "magenta", "NBY": "magenta", "PAU": "yellow", "WDP": "yellow", "WTM": "yellow",
    "RER": "red", "WRC": "yellow", "SUS": "yellow", "WFL": "blue", "WSL": "blue", "WWK": "blue",
    "ONL": "green", "WRN": "yellow", "DRT": "yellow",
}  # fmt: skip
"""Word of a state -> style of rich."""
_BAR = 16
"""Characters of a bar."""
_MAX_TASKS = 3
"""Running tasks that a row names."""

Load = Mapping[str, Any]


def age_text(seconds: float) -> str:
    """Return a duration in one or two units: ``7s``, ``4m10s``, ``2h05m``, ``3d04h``."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    for unit, small, size, part in (("m", "s", 3600, 60), ("h", "m", 86_400, 3600)):
        if whole < size:
            rest = whole % part // (part // 60)
            return f"{whole // part}{unit}{rest:02d}{small}"
    return f"{whole // 86_400}d{whole % 86_400 // 3600:02d}h"


def _since(moment: int, now: float) -> str:
    return age_text(now - moment) if moment else ""


def states_cell(states: Sequence[str]) -> list[Part]:
    """The words of states, each in its colour."""
    parts: list[Part] = []
    for word in states:
        parts += [" "] if parts else []
        parts.append((word, _COLOURS[word]) if word in _COLOURS else word)
    return parts


def _bar(shares: Sequence[tuple[float, str, str]]) -> list[Part]:
    """A bar of parts: the share of 1, the letter, the style."""
    parts: list[Part] = []
    used = 0
    total = 0.0
    for share, letter, style in shares:
        total += share
        # What is there is seen, however little it is.
        width = min(_BAR - used, max(round(total * _BAR) - used, 1 if share > 0 else 0))
        if width > 0:
            parts.append((letter * width, style))
        used += max(0, width)
    return [*parts, ("." * (_BAR - used), "dim")] if used < _BAR else parts


# Renders

_RENDER_COLUMNS = (
    Column(title="RENDER", least=10, most=32),
    Column(title="ID", rank=6, right=True),
    Column(title="STATE"),
    Column(title="USER", rank=4, least=6, most=20),
    Column(title="PRIO", rank=7, right=True),
    Column(title="TASKS", right=True),
    Column(title="CAPACITY", rank=3, right=True),
    Column(title="CPU", rank=2, right=True),
    Column(title="MEM FREE", rank=5, right=True),
    Column(title="SINCE", rank=1, right=True),
    Column(title="RUNS", rank=1, least=14, most=80),
    Column(title="NOTE", rank=8, least=8, most=40),
)


def renders_table(
    renders: Sequence[RenderNode], loads: Mapping[int, Load], now: float, width: int
) -> list[Line]:
    """The lines of a table of renders."""
    rows: list[list[Cell]] = []
    for render in renders:
        load, running = loads.get(render.id, {}), render.tasks
        since = min((task.started for task in running), default=render.idle_since)
        shown = [
            f"{task.job}.{task.block}.{task.task} {task.job_name}/{task.name}"
            + (f" {task.percent}%" if task.percent >= 0 else "")
            for task in running[:_MAX_TASKS]
        ]
        if len(running) > _MAX_TASKS:
            shown.append(f"{len(running) - _MAX_TASKS} more")
        memory = integer_of(load, "mem_free_mb")
        rows.append(
            [
                render.name,
                str(render.id),
                states_cell([word for word in render.states if word != "ONL"] or ["ONL"]),
                render.user_name,
                str(render.priority),
                f"{len(running)}/{render.max_tasks}" if render.online else "",
                f"{render.capacity_used}/{render.capacity}" if render.online else "",
                f"{100 - integer_of(load, 'cpu_idle')}%" if load else "",
                f"{memory / 1024:.1f}G" if load else "",
                _since(since, now) if render.online else "",
                ", ".join(shown),
                text_of(render.fields, "annotation"),
            ]
        )
    return layout(_RENDER_COLUMNS, rows, width)


def render_object(render: RenderNode, load: Load) -> dict[str, object]:
    """A render for scripts. Times are Unix time."""
    fields = render.fields
    return {
        "id": render.id,
        "name": render.name,
        "states": list(render.states),
        "user_name": render.user_name,
        "priority": render.priority,
        "capacity": render.capacity,
        "capacity_used": render.capacity_used,
        "max_tasks": render.max_tasks,
        "services": list(texts_of(fields, "services")),
        "services_disabled": list(texts_of(fields, "services_disabled")),
        "annotation": text_of(fields, "annotation"),
        "hidden": fields.get("hidden") is True,
        "pool": text_of(fields, "pool"),
        "address": render.address,
        "os": text_of(fields, "os"),
        "engine": text_of(fields, "engine"),
        "time_launch": integer_of(fields, "time_launch"),
        "time_register": integer_of(fields, "time_register"),
        "time_update": integer_of(fields, "time_update"),
        "idle_since": render.idle_since,
        "busy_since": integer_of(fields, "busy_time"),
        "wol_operation_time": integer_of(fields, "wol_operation_time"),
        "netifs": fields.get("netifs") if isinstance(fields.get("netifs"), list) else [],
        "tasks": [
            {
                "job": task.job,
                "block": task.block,
                "task": task.task,
                "name": task.name,
                "job_name": task.job_name,
                "block_name": task.block_name,
                "user_name": task.user_name,
                "service": task.service,
                "started": task.started,
                "percent": task.percent,
            }
            for task in render.tasks
        ],
        "resources": dict(load) or None,
    }


# Jobs

_JOB_COLUMNS = (
    Column(title="JOB", right=True),
    Column(title="NAME", least=10, most=48),
    Column(title="USER", rank=2, least=6, most=20),
    Column(title="STATE"),
    Column(title="PRIO", rank=5, right=True),
    Column(title="PROGRESS", rank=1),
    Column(title="", rank=1, right=True),
    Column(title="DONE", right=True),
    Column(title="RUN", rank=3, right=True),
    Column(title="ERR", rank=1, right=True),
    Column(title="AGE", rank=4, right=True),
    Column(title="TOOK", rank=6, right=True),
    Column(title="NOTE", rank=7, least=8, most=40),
)


def jobs_table(jobs: Sequence[JobNode], now: float, width: int) -> list[Line]:
    """The lines of a table of jobs."""
    rows: list[list[Cell]] = []
    for job in jobs:
        total, done, skipped = job.tasks, job.count("done"), job.count("skipped")
        running, error = job.count("running"), job.count("error")
        share = 1 / total if total else 0.0
        bar = _bar(
            [
                ((done - skipped) * share, "#", "green"),
                (skipped * share, "-", "dim green"),
                (error * share, "!", "red"),
                (running * share, ">", "cyan"),
            ]
        )
        took = (job.finished or int(now)) - job.started if job.started else 0
        note = text_of(job.fields, "annotation")
        avoided = sum(block.avoided_hosts for block in job.blocks)
        if avoided and "DON" not in job.states:
            text = f"{count_text(avoided, 'render')} avoided after errors"
            note = f"{text}; {note}" if note else text
        rows.append(
            [
                str(job.id),
                job.name,
                job.user_name,
                states_cell([*job.states, *(["deleting"] if job.locked else [])]),
                str(job.priority),
                bar,
                f"{job.percent:.0f}%",
                f"{done}/{total}",
                str(running) if running else "",
                [(str(error), "red")] if error else "",
                _since(job.created, now),
                age_text(took) if took else "",
                note,
            ]
        )
    return layout(_JOB_COLUMNS, rows, width)


def job_object(job: JobNode) -> dict[str, object]:
    """A job for scripts. Times are Unix time, 0: not yet."""
    fields = job.fields
    return {
        "id": job.id,
        "serial": job.serial,
        "name": job.name,
        "user_name": job.user_name,
        "states": list(job.states),
        "priority": job.priority,
        "annotation": text_of(fields, "annotation"),
        "hidden": job.hidden,
        "deleting": job.locked,
        "percent": round(job.percent, 1),
        "tasks": job.tasks,
        "done": job.count("done"),
        "skipped": job.count("skipped"),
        "error": job.count("error"),
        "running": job.count("running"),
        "ready": job.count("ready"),
        "created": job.created,
        "started": job.started,
        "finished": job.finished,
        "depend_mask": text_of(fields, "depend_mask"),
        "depend_mask_global": text_of(fields, "depend_mask_global"),
        "blocks": [
            {
                "number": block.number,
                "name": block.name,
                "service": block.service,
                "states": list(block.states),
                "percent": block.percent,
                "tasks": block.tasks,
                "done": block.done,
                "skipped": block.skipped,
                "error": block.error,
                "running": block.running,
                "ready": block.ready,
                "error_hosts": block.error_hosts,
                "avoided_hosts": block.avoided_hosts,
                "run_time": block.seconds,
            }
            for block in job.blocks
        ],
    }


# Tasks

_TASK_COLUMNS = (
    Column(title="TASK", right=True),
    Column(title="BLOCK", rank=4, least=6, most=24),
    Column(title="NAME", least=8, most=40),
    Column(title="STATE"),
    Column(title="PROGRESS", rank=2),
    Column(title="", right=True),
    Column(title="RENDER", rank=1, least=8, most=24),
    Column(title="TIME", rank=1, right=True),
    Column(title="TRIES", rank=3, right=True),
    Column(title="ERR", rank=3, right=True),
    Column(title="DOES", rank=5, least=8, most=60),
)


def tasks_table(tasks: Sequence[TaskNode], now: float, width: int) -> list[Line]:
    """The lines of a table of tasks."""
    rows: list[list[Cell]] = []
    for task in tasks:
        letter, style = ("#", "green") if "DON" in task.states else (">", "cyan")
        if "ERR" in task.states:
            letter, style = "!", "red"
        time = ""
        if task.started:
            time = age_text((now if task.running else task.changed) - task.started)
        rows.append(
            [
                task.key,
                task.block_name,
                task.name,
                states_cell(task.states),
                _bar([(min(100, max(0, task.percent)) / 100, letter, style)]),
                f"{task.percent}%",
                task.render,
                time,
                str(task.starts) if task.starts > 1 else "",
                [(str(task.errors), "red")] if task.errors else "",
                task.activity,
            ]
        )
    return layout(_TASK_COLUMNS, rows, width)


# What tasks wait for


def wait_lines(job: JobNode, reasons: Sequence[WaitReasons]) -> list[Line]:
    """What the waiting tasks of a job wait for, a line for each reason."""
    if not reasons:
        return [[("  no task waits", "dim")]]
    lines: list[Line] = []
    for each in reasons:
        tasks = count_text(each.tasks, "task")
        where = f"{job.id}.{each.block}.{each.task}"
        lines.append(["  ", (f'block "{each.block_name}"', "bold"), f": {tasks}, from {where}"])
        lines += [["    ", text] for text in each.sentences]
    return lines


def wait_object(reasons: WaitReasons) -> dict[str, object]:
    """The same for scripts."""
    return {
        "block": reasons.block,
        "block_name": reasons.block_name,
        "task": reasons.task,
        "tasks": reasons.tasks,
        "reasons": list(reasons.reasons),
        "renders": {name: list(found) for name, found in reasons.renders.items()},
    }
