"""Users, the pool, the branch and monitors as JSON objects. Pure functions."""

from __future__ import annotations

import attrs

from trio_afrender.farm.json_interface.answers import Answer
from trio_afrender.farm.json_interface.job_objects import running_services
from trio_afrender.farm.json_interface.json_monitors import NODE_CLASSES, ROOT, JsonMonitor
from trio_afrender.farm.json_interface.node_fields import (
    ERROR_RULES,
    describe_address,
    needs_fields,
    unix_time,
    without_empty,
)
from trio_afrender.farm.json_interface.render_objects import POOL_CAPACITY, POOL_MAX_TASKS
from trio_afrender.farm.model import TaskState, User
from trio_afrender.farm.placement import why_unavailable
from trio_afrender.farm.render_parameters import PoolParameters
from trio_afrender.farm.render_states import RenderBit
from trio_afrender.farm.state import FarmState
from trio_afrender.farm.task_bits import job_bits, state_text, summarize

__all__ = ("ROOT", "describe_branch", "describe_monitor", "describe_pool", "describe_user")

_MAX_ACTIVE = 1000
"""Jobs that a branch lists."""
_SOLVING = {"solve_method": "solve_order", "solve_need": "solve_capacity"}
_POOL_SHOWN = ("priority", "hidden", "annotation", "custom_data")
_POOL_OWN = (*_POOL_SHOWN, "paused", "capacity_host", "max_tasks_host")


def describe_user(state: FarmState, user: User) -> Answer:
    """One user."""
    jobs = user.jobs.values()
    made: Answer = {"name": user.name, "id": user.id, "priority": user.priority}
    made |= without_empty(
        hidden=user.hidden,
        annotation=user.annotation,
        custom_data=user.custom_data,
        running_services=running_services(jobs),
    )
    made |= needs_fields(user.needs)
    made |= _SOLVING
    made |= without_empty(
        paused=user.paused,
        running_tasks_num=user.running,
        running_capacity_total=sum(
            summarize(block).running_capacity for job in jobs for block in job.blocks
        ),
    )
    made["time_register"] = unix_time(user.time_register)
    made["time_activity"] = unix_time(user.time_activity)
    for name in ERROR_RULES:  # -1: the farm's
        own: int = getattr(user, name)
        made[name] = own if own >= 0 else getattr(state.settings, name)
    if user.jobs_life_time > 0:
        made["jobs_life_time"] = user.jobs_life_time
    made |= without_empty(
        host_name=user.host_name,
        jobs_num=len(jobs),
        running_jobs_num=sum(job.counts[TaskState.RUNNING] > 0 for job in jobs),
    )
    return made


def describe_pool(state: FarmState, now: float) -> Answer:
    """The pool of all renders."""
    pool, renders = state.pool, list(state.renders.values())
    bits = [render.bits for render in renders]

    def count(bit: RenderBit) -> int:
        return sum(bool(each & bit) for each in bits)

    busy = count(RenderBit.RUN)
    online = count(RenderBit.ONL)
    words = (" RUN" if busy else "") + (" PAU" if pool.paused else "")
    made: Answer = {"name": "/", "id": ROOT}
    made |= {name: value for name in _POOL_SHOWN if (value := getattr(pool, name))}
    made |= {
        "parent": "",
        "time_creation": unix_time(state.time_creation),
        "pools_total": 0,
        "renders_total": len(renders),
        "renders_busy": busy,
        "renders_ready": sum(not why_unavailable(state, each, now) for each in renders),
        "renders_online": online,
        "renders_offline": len(renders) - online,
        "renders_nimby": count(RenderBit.NbY | RenderBit.NBY),
        "renders_paused": count(RenderBit.PAU),
        "renders_sick": count(RenderBit.SIC),
        "st": (1 if busy else 0) | (2 if pool.paused else 0),
        "state": words,
    }
    made |= without_empty(
        task_start_finish_time=unix_time(
            max((r.task_start_finish_time for r in renders), default=0)
        ),
        running_services=running_services(state.jobs.values()),
        run_tasks=sum(len(each.running) for each in renders),
        run_capacity=sum(each.capacity_used for each in renders),
    )
    made["capacity_host"] = pool.capacity_host if pool.capacity_host >= 0 else POOL_CAPACITY
    made["max_tasks_host"] = pool.max_tasks_host if pool.max_tasks_host >= 0 else POOL_MAX_TASKS
    for field in attrs.fields(PoolParameters):
        value = getattr(pool, field.name)
        if field.name not in _POOL_OWN and value != field.default:
            made[field.name] = list(value) if isinstance(value, tuple) else value
    return made


def describe_branch(state: FarmState) -> Answer:
    """The branch of all jobs."""
    active = [job for job in state.jobs.values() if not job.over][:_MAX_ACTIVE]
    users = dict.fromkeys(job.user for job in active)
    return {
        "name": "/",
        "id": ROOT,
        "priority": 99,
        "solve_method": "solve_priority",
        "solve_need": "solve_tasksnum",
        "create_childs": False,
        "solve_jobs": True,
        "time_creation": unix_time(state.time_creation),
        "parent": "",
        "jobs_total": len(state.jobs),
        "active_jobs": [
            {
                "id": job.id,
                "name": job.spec.name,
                "user_name": job.user.name,
                "state": state_text(job_bits(job)),
            }
            for job in active
        ],
        "active_users": [{"id": user.id, "name": user.name} for user in users],
    }


def describe_monitor(monitor: JsonMonitor) -> Answer:
    """One monitor."""
    watched = [kind for kind in NODE_CLASSES if kind in monitor.classes]
    return {
        "name": monitor.name,
        "id": monitor.id,
        "priority": 99,
        "user_name": monitor.user_name,
        "time_register": unix_time(monitor.time_register),
        "time_launch": unix_time(monitor.time_register),
        "time_update": unix_time(monitor.time_update),
        "os": "",
        "address": describe_address(monitor.address),
        "engine": monitor.engine,
        "uid": monitor.uid,
        "time_activity": unix_time(monitor.time_activity),
        "events": [f"{kind}_{what}" for kind in watched for what in ("add", "change", "del")],
    }
