"""Renders as JSON objects. Pure functions from the farm's records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import TypeAlias
from weakref import WeakKeyDictionary

import attrs

from trio_afrender.farm.json_interface.answers import Answer, encode_text
from trio_afrender.farm.json_interface.node_fields import (
    describe_address,
    unix_time,
    without_empty,
)
from trio_afrender.farm.model import RenderState, Run
from trio_afrender.farm.render_states import RenderStates
from trio_afrender.farm.state import FarmState
from trio_afrender.protocol.messages import HostResources

__all__ = (
    "POOL_CAPACITY",
    "POOL_MAX_TASKS",
    "describe_render",
    "describe_resources",
    "describe_whole_render",
    "encode_renders",
)

POOL_CAPACITY = 1100
"""What the pool shows when it is not set; the next one likewise."""
POOL_MAX_TASKS = 4
_OURS_ALONE = ("logged_in_users", "custom", "gpus", "stale")
_RESOURCES = tuple(f.name for f in attrs.fields(HostResources) if f.name not in _OURS_ALONE)


def describe_render(state: FarmState, render: RenderState, now: float) -> Answer:
    """One render in a list of renders. `now` is on the farm's clock."""
    made = _describe_constant(state, render) | _describe_moment(state, render, now)
    if render.running:
        made["tasks"] = [_describe_run(run) for run in render.running.values()]
    return made


def encode_renders(state: FarmState, renders: Iterable[RenderState], now: float) -> str:
    """The JSON of a list of renders: that of `describe_render`, but most of it is kept.

    A browser page asks for all renders again and again, and little of them changes meanwhile.
    """
    texts = []
    for render in renders:
        parts = (render.register, render.overrides, render.effective, state.pool, render.peer)
        kept = _constants.get(render)
        if kept is None or _differ(kept[0], parts):
            text = encode_text(_describe_constant(state, render))[:-1]
            kept = _constants[render] = (parts, text)
        tasks = []
        for run in render.running.values():
            block = run.task.block
            of_run = (block.spec, block.job.spec, block.job.user)
            kept_run = _runs.get(run)
            if kept_run is None or _differ(kept_run[0], of_run):
                kept_run = _runs[run] = (of_run, encode_text(_describe_run(run)))
            tasks.append(kept_run[1])
        listed = f'"tasks":[{",".join(tasks)}],' if tasks else ""
        moment = encode_text(_describe_moment(state, render, now))[1:]
        texts.append(f"{kept[1]},{listed}{moment}")
    return f"[{','.join(texts)}]"


def _differ(old: tuple[object, ...], new: tuple[object, ...]) -> bool:
    return any(one is not other for one, other in zip(old, new, strict=True))


_Kept: TypeAlias = tuple[tuple[object, ...], str]
"""The values from which a text was made, and the text: it holds as long as they are the same."""
_constants: WeakKeyDictionary[RenderState, _Kept] = WeakKeyDictionary()
_runs: WeakKeyDictionary[Run, _Kept] = WeakKeyDictionary()


def _describe_constant(state: FarmState, render: RenderState) -> Answer:
    """What changes when the render registers or a user edits it."""
    register, effective, overrides = render.register, render.effective, render.overrides
    made: Answer = {"name": render.name, "id": render.id, "priority": effective.priority}
    made |= without_empty(
        hidden=overrides.hidden,
        annotation=overrides.annotation,
        custom_data=overrides.custom_data,
    )
    made |= {
        "user_name": effective.user_name,
        "os": register.os,
        "address": describe_address(render.peer),
        "netifs": [
            {
                "name": netif.name,
                "mac": netif.mac,
                "addresses": [describe_address(each) for each in netif.addresses],
            }
            for netif in register.netifs
        ],
        "engine": register.engine,
        "pool": "/",
    }
    made |= without_empty(
        services=list(effective.services), services_disabled=list(effective.services_disabled)
    )
    # Only the limits that are not those of the pool. A render may have limits in its own settings:
    # they are shown as if they had been set here.
    pool = state.pool
    if overrides.capacity_host >= 0 or effective.capacity != _or(pool.capacity_host, POOL_CAPACITY):
        made["capacity_host"] = effective.capacity
    if overrides.max_tasks_host >= 0 or (
        effective.max_tasks != _or(pool.max_tasks_host, POOL_MAX_TASKS)
    ):
        made["max_tasks_host"] = effective.max_tasks
    if overrides.power_host >= 0:
        made["power_host"] = overrides.power_host
    if overrides.properties_host:
        made["properties_host"] = overrides.properties_host
    return made


def _describe_moment(state: FarmState, render: RenderState, now: float) -> Answer:
    """What changes all the time."""
    runs = render.running.values()
    made: Answer = {}
    if runs:
        made["tasks_percents"] = _percents(render)
        made["running_services"] = dict(Counter(run.task.block.spec.service for run in runs))
    bits, words = _show_states(render.states)
    made |= {
        "time_register": unix_time(render.time_register),
        "time_launch": render.register.time_launch if render.online else 0,
        "time_update": unix_time(render.time_update),
        "st": bits,
        "state": words,
        "capacity_used": render.capacity_used,
        "task_start_finish_time": unix_time(render.task_start_finish_time),
    }
    if render.wol_operation_time:
        made["wol_operation_time"] = unix_time(render.wol_operation_time)
    _add_idle_times(made, state, render, now)
    return made


@lru_cache(maxsize=1024)
def _show_states(states: RenderStates) -> tuple[int, str]:
    return int(states.bits), states.words


def _or(value: int, default: int) -> int:
    return value if value >= 0 else default


def describe_resources(state: FarmState, render: RenderState, now: float) -> Answer:
    """The load of one render; of an offline one only its names."""
    made: Answer = {"tasks_percents": _percents(render)} if render.running else {}
    made |= {"id": render.id, "host_name": render.name}
    if render.online and render.resources is not None:
        _add_idle_times(made, state, render, now)
        made["host_resources"] = _describe_load(render.resources)
    return made


def describe_whole_render(state: FarmState, render: RenderState, now: float) -> Answer:
    """One render with everything."""
    made: Answer = {
        "name": render.name,
        "id": render.id,
        "render": describe_render(state, render, now),
        "custom_data": render.overrides.custom_data,
    }
    if render.resources is not None:
        made["host_resources"] = _describe_load(render.resources)
    return made


def _percents(render: RenderState) -> list[int]:
    """-1 for a task that has not reported a percentage yet."""
    return [run.task.percent or -1 for run in render.running.values()]


def _add_idle_times(made: Answer, state: FarmState, render: RenderState, now: float) -> None:
    """Since when the host is idle and busy; the present time while it is not."""
    wall = state.wall()
    for name, since in (
        ("idle_time", render.watch.idle_since),
        ("busy_time", render.watch.busy_since),
    ):
        made[name] = int(wall if since is None else wall - (now - since))


def _describe_run(run: Run) -> Answer:
    block, job, key = run.task.block, run.task.block.job, run.task.key
    made: Answer = {
        "name": block.spec.task_name(key.task),
        "service": block.spec.service,
        "capacity": block.spec.capacity,
        "time_start": unix_time(run.task.started),
        "user_name": job.user.name,
        "block_name": block.spec.name,
        "job_name": job.spec.name,
        "job_id": key.job,
        "block_num": key.block,
        "task_num": key.task,
    }
    if run.capacity != block.spec.capacity:
        made["capacity_coeff"] = run.capacity // block.spec.capacity
    return made


def _describe_load(load: HostResources) -> Answer:
    made: Answer = {name: getattr(load, name) for name in _RESOURCES}
    if load.custom:
        made["custom"] = [
            {
                "value": meter.value,
                "value_max": meter.valuemax,
                "width": meter.width,
                "height": meter.height,
                "label_size": meter.labelsize,
                "label": meter.label,
                "tooltip": meter.tooltip,
                "graph_clr": [meter.graphr, meter.graphg, meter.graphb],
                "label_clr": [meter.labelr, meter.labelg, meter.labelb],
                "back_clr": [meter.bgcolorr, meter.bgcolorg, meter.bgcolorb],
            }
            for meter in load.custom
        ]
    return made
