"""Jobs and blocks as JSON objects, and the progress of their tasks. Pure functions."""

from __future__ import annotations

import time
from collections.abc import Iterable

from trio_afrender.farm.json_interface.answers import Answer
from trio_afrender.farm.json_interface.node_fields import (
    ERROR_RULES,
    needs_fields,
    unix_time,
    without_empty,
)
from trio_afrender.farm.model import Block, Job, Task, TaskState
from trio_afrender.farm.placement import why_avoided_by_block, why_not_for_task
from trio_afrender.farm.state import FarmState
from trio_afrender.farm.task_bits import TaskBit, job_bits, state_text, summarize, task_bits
from trio_afrender.farm.user_edits import jobs_in_order

__all__ = (
    "BLOCK_MODES",
    "describe_block",
    "describe_error_hosts",
    "describe_jobs",
    "describe_progress",
    "orders_of_users",
    "progress_item",
    "running_services",
    "serial_of",
    "task_error_lines",
)

BLOCK_MODES = ("progress", "properties", "full")
_SOLVING = {"solve_method": "solve_order", "solve_need": "solve_tasksnum"}
"""How the tasks of a node share the renders: what this farm does."""
_COUNTS = {
    "p_tasks_ready": "ready",
    "p_tasks_done": "done",
    "p_tasks_error": "error",
    "p_tasks_skipped": "skipped",
    "p_tasks_warning": "warning",
    "p_tasks_waitrec": "waiting_reconnect",
    "p_tasks_waitdep": "waiting_dependencies",
    "p_tasks_suspended": "suspended",
    "p_tasks_run_time_min": "run_time_min",
    "p_tasks_run_time_max": "run_time_max",
    "p_tasks_run_time_sum": "run_time_sum",
}


def describe_jobs(
    state: FarmState, jobs: Iterable[Job], now: float, *, full: bool = False
) -> list[Answer]:
    """Jobs with their blocks; `full` ones have the tasks of list blocks too."""
    places = {
        job: place for order in orders_of_users(state).values() for place, job in enumerate(order)
    }
    return [_describe_job(state, job, now, places[job.id], full=full) for job in jobs]


def orders_of_users(state: FarmState) -> dict[int, list[int]]:
    """The ids of the jobs of each user, by the user's id, in the order in which they are solved."""
    return {user.id: [job.id for job in jobs_in_order(user)] for user in state.users.values()}


def _describe_job(state: FarmState, job: Job, now: float, place: int, *, full: bool) -> Answer:
    spec = job.spec
    summaries = [summarize(block) for block in job.blocks]
    bits = job_bits(job)
    made: Answer = {"name": spec.name, "id": job.id, "priority": spec.priority}
    made |= without_empty(
        locked=job.deleting,
        hidden=spec.hidden,
        annotation=spec.annotation,
        custom_data=spec.custom_data,
        m_srv_info=spec.srv_info,
        running_services=running_services([job]),
    )
    made |= needs_fields(spec.needs)
    made |= _SOLVING
    made["hosts_mask_type"] = spec.hosts_mask_type
    made |= without_empty(
        running_tasks_num=job.counts[TaskState.RUNNING],
        running_capacity_total=sum(each.running_capacity for each in summaries),
    )
    made |= {"serial": serial_of(job), "user_name": job.user.name, "host_name": spec.host_name}
    made["st"] = bits
    made |= without_empty(
        state=state_text(bits),
        ppa=spec.ppa,
        maintenance=spec.maintenance,
        ignorenimby=spec.ignore_nimby,
        ignorepaused=spec.ignore_paused,
        description=spec.description,
        thumb_path=state.texts.path(*job.thumbnail).as_posix() if job.thumbnail else "",
        report=next((task.report for b in job.blocks for task in b.tasks if task.report), ""),
        project=spec.project,
        department=spec.department,
    )
    made |= {"branch": "/", "user_list_order": place}
    made["time_creation"] = unix_time(job.created)
    made |= without_empty(
        time_wait=spec.time_wait,
        time_started=unix_time(job.started),
        time_done=unix_time(job.finished) if bits & TaskBit.DON else 0,
    )
    if spec.time_life >= 0:
        made["time_life"] = spec.time_life
    made |= without_empty(
        tasks_ready=sum(each.ready for each in summaries if each.bits & TaskBit.RDY),
        tasks_error=sum(each.error for each in summaries),
        folders=dict(spec.folders),
        depend_mask=spec.depend_mask,
        depend_mask_global=spec.depend_mask_global,
    )
    mode = "full" if full else "list"
    blocks = enumerate(job.blocks)
    made["blocks"] = [describe_block(state, block, i, now, mode) for i, block in blocks]
    return made


def serial_of(job: Job) -> int:
    """The serial number of a job. This farm uses no id twice, so it follows from the id."""
    return job.id - 1


def running_services(jobs: Iterable[Job]) -> dict[str, int]:
    """How many tasks of each service run."""
    found: dict[str, int] = {}
    for job in jobs:
        for block in job.blocks if job.counts[TaskState.RUNNING] else ():
            if running := block.counts[TaskState.RUNNING]:
                found[block.spec.service] = found.get(block.spec.service, 0) + running
    return found


def describe_block(state: FarmState, block: Block, number: int, now: float, mode: str) -> Answer:
    """One block: its ``progress``; with ``list`` what lists show; else everything."""
    if mode == "progress":
        return _block_progress(state, block, number, now)
    spec = block.spec
    made: Answer = {}
    if mode != "list":
        if not spec.numeric:
            made["tasks"] = [
                {"name": task.name, "command": task.command}
                | without_empty(
                    files=list(task.files),
                    environment=dict(task.environment),
                    custom_data=task.custom_data,
                )
                for task in spec.tasks
            ]
        made |= {"command": spec.command, "tasks_name": spec.tasks_name}
        made |= without_empty(
            parser=spec.parser,
            working_directory=spec.working_directory,
            files=list(spec.files),
            environment=dict(spec.environment),
        )
    made |= {
        "name": spec.name,
        "service": spec.service,
        "capacity": spec.capacity,
        "flags": spec.flags,
        "tasks_num": len(block.tasks),
        "frame_first": spec.frame_first,
        "frame_last": spec.frame_last,
        "frames_per_task": spec.frames_per_task,
        "frames_inc": spec.frames_inc,
    }
    if spec.sequential != 1:
        made["sequential"] = spec.sequential
    for name in ERROR_RULES:  # -1: the user's
        if (limit := getattr(spec, name)) >= 0:
            made[name] = limit
    made |= needs_fields(spec.needs)
    made |= without_empty(
        capacity_coeff_min=spec.capacity_coeff_min,
        capacity_coeff_max=spec.capacity_coeff_max,
        depend_mask=spec.depend_mask,
        tasks_depend_mask=spec.tasks_depend_mask,
        task_max_run_time=spec.task_max_run_time,
        task_min_run_time=spec.task_min_run_time,
        custom_data=spec.custom_data,
    )
    for name in ("task_progress_change_timeout", "file_size_min", "file_size_max"):
        if (size := getattr(spec, name)) >= 0:
            made[name] = size
    made |= _block_progress(state, block, number, now)
    return made


def _block_progress(state: FarmState, block: Block, number: int, now: float) -> Answer:
    summary = summarize(block)
    made: Answer = {"block_num": number, "st": summary.bits}
    if summary.bits:
        made["state"] = state_text(summary.bits)
    made["job_id"] = block.job.id
    made |= without_empty(
        running_tasks_counter=block.counts[TaskState.RUNNING],
        running_capacity_total=summary.running_capacity,
        p_percentage=summary.percentage,
        p_error_hosts=len(block.error_hosts),
        p_avoid_hosts=len(_avoided(state, block, now)) if block.error_hosts else 0,
    )
    for name, attribute in _COUNTS.items():
        if count := getattr(summary, attribute):
            made[name] = count
    if block.spec.srv_info:
        made["srv_info"] = block.spec.srv_info
    made["p_progressbar"] = summary.bar
    return made


def _avoided(state: FarmState, block: Block, now: float) -> set[str]:
    """The renders that get the block no more."""
    known = (state.renders.get(name) for name in block.error_hosts)
    return {each.name for each in known if each and why_avoided_by_block(state, each, block, now)}


def describe_progress(job: Job, wall: int) -> list[list[Answer]]:
    """The progress of all tasks, a list for each block."""
    return [[progress_item(task, wall) for task in block.tasks] for block in job.blocks]


def progress_item(task: Task, wall: int) -> Answer:
    """The progress of one task. `wall` is the present time: a running task changes all the time."""
    bits = task_bits(task)
    made: Answer = {"state": state_text(bits), "st": bits}
    if not task.attempts and task.last_run is None:  # most tasks of a large job, most of the time
        return made
    for name, value in (
        ("per", task.percent),
        ("frm", task.frame),
        ("pfr", task.percentframe),
        ("str", task.attempts),
        ("err", task.errors),
        ("tst", unix_time(task.started)),
        ("tdn", wall if task.run is not None else unix_time(task.finished)),
        ("hst", task.last_run.render.name if task.last_run else ""),
        ("act", task.activity),
        ("res", task.resources),
    ):
        if value:
            made[name] = value
    return made


def describe_error_hosts(state: FarmState, job: Job, now: float) -> list[str]:
    """Which renders failed how often at the blocks and tasks of a job, a line each."""
    lines = []
    for block in job.blocks:
        lines.append(f"Block['{block.spec.name}'] error hosts:")
        avoided = _avoided(state, block, now)
        for name, (count, last) in block.error_hosts.items():
            lines.append(_error_line(state, name, count, last, now, avoided=name in avoided))
        for task in block.tasks:
            lines += task_error_lines(state, task, now)
    return lines


def task_error_lines(state: FarmState, task: Task, now: float) -> list[str]:
    """Which renders failed how often at a task; nothing if none did."""
    if not task.error_hosts:
        return []
    lines = [f"Task[{task.key.task}] error hosts: "]
    for name, (count, last) in task.error_hosts.items():
        render = state.renders.get(name)
        avoided = render is not None and why_not_for_task(state, render, task, now)
        lines.append(_error_line(state, name, count, last, now, avoided=bool(avoided)))
    return lines


def _error_line(
    state: FarmState, name: str, count: int, last: float, now: float, *, avoided: bool
) -> str:
    """How often a render failed, and when it last did; times on the farm's clock."""
    when = time.localtime(state.wall() - (now - last))
    mark = " - ! AVOIDING !" if avoided else ""
    return f"{name}: {count} at {time.strftime('%a %d %b %H:%M.%S', when)}{mark}"
