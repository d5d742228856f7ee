"""Rows of the tables that a page shows, from the values of a farm's answers. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from trio_afrender.afserver.remote_nodes import (
    BlockNode,
    JobNode,
    PoolNode,
    RenderNode,
    UserNode,
    flag_of,
    integer_of,
    objects_of,
    text_of,
    texts_of,
)
from trio_afrender.text import shorten
from trio_afrender.web.job_outlook import JobPace
from trio_afrender.web.topic import Row

__all__ = (
    "LOAD_FIELDS",
    "block_row",
    "draw_bar",
    "job_row",
    "load_figures",
    "meter_objects",
    "pool_row",
    "render_details",
    "render_row",
    "settle_load",
    "user_row",
)

LOAD_FIELDS = ("cpu", "mem", "swap", "gpu", "gpu_mem", "disk", "net_in", "net_out", "space")
"""The order of the figures of a load: percent, `net_...` in MiB/s."""
_BAR = 64
"""Letters of a bar."""
_MAX_TEXT = 10_000
"""Characters of a name or a note that a row shows."""
_IMAGE_PATH = re.compile(r"/(\d{1,9})\.(\d{1,9})/(?:files/)?[^/]+$")
"""The end of the path of a task's image in a farm's store."""
_LAST_DATE = 8_640_000_000_000
"""Unix time of the last date that browsers have; of a later one they make an error."""
_MAX_METERS = 32
_MAX_NETIFS = 32

Figures = tuple[float | None, ...]


def _short(text: str) -> str:
    return shorten(text, _MAX_TEXT)


# Jobs


def job_row(job: JobNode, pace: JobPace) -> Row:
    """A row of the list of jobs."""
    fields = job.fields
    wait = min(integer_of(fields, "time_wait"), _LAST_DATE)
    return {
        "id": job.id,
        "serial": job.serial,
        "name": _short(job.name),
        "user": _short(job.user_name),
        "states": list(job.states),
        "priority": job.priority,
        "percent": round(job.percent, 1),
        "bar": draw_bar([(block.tasks, _bar_of(block)) for block in job.blocks]),
        "done": job.count("done"),
        "running": job.count("running"),
        "error": job.count("error"),
        "skipped": job.count("skipped"),
        "ready": job.count("ready"),
        "tasks": job.tasks,
        "created": job.created,
        "started": job.started,
        "finished": job.finished if "DON" in job.states else 0,
        "ends": pace.ends,
        "frames_per_minute": pace.frames_per_minute,
        "annotation": _short(text_of(fields, "annotation")),
        "description": _short(text_of(fields, "description")),
        "blocks": len(job.blocks),
        "error_hosts": job.count("error_hosts"),
        "hidden": job.hidden,
        "waits": wait if "WTM" in job.states else 0,
        "project": _short(text_of(fields, "project")),
        "department": _short(text_of(fields, "department")),
        "thumbnail": _find_thumbnail(job),
    }


def _find_thumbnail(job: JobNode) -> str:
    """The task with the newest image, by the path of that; '' if there is none."""
    match = _IMAGE_PATH.search(text_of(job.fields, "thumb_path"))
    if match is None:
        return ""
    block, task = int(match[1]), int(match[2])
    known = block < len(job.blocks) and task < job.blocks[block].tasks
    return f"{job.id}.{block}.{task}" if known else ""


def block_row(block: BlockNode) -> Row:
    """A row of the blocks of a job."""
    depends = []
    if whole := text_of(block.fields, "depend_mask"):
        # A block that has begun has its dependencies still, and waits no more.
        waits = "waits for" if "WDP" in block.states else "after"
        depends.append(f"{waits} blocks {_short(whole)}")
    if single := text_of(block.fields, "tasks_depend_mask"):
        depends.append(f"each task after that of {_short(single)}")
    return {
        "id": block.number,
        "name": _short(block.name),
        "service": _short(block.service),
        "states": list(block.states),
        "tasks": block.tasks,
        "ready": block.ready,
        "running": block.running,
        "done": block.done,
        "error": block.error,
        "skipped": block.skipped,
        "percent": block.percent,
        "bar": draw_bar([(block.tasks, _bar_of(block))]),
        "capacity": block.capacity,
        "error_hosts": block.error_hosts,
        "avoided_hosts": block.avoided_hosts,
        "seconds": block.seconds,
        "depends": "; ".join(depends),
    }


def _bar_of(block: BlockNode) -> str:
    return text_of(block.fields, "p_progressbar")


def draw_bar(parts: Sequence[tuple[int, str]], length: int = _BAR) -> str:
    """A bar of several blocks, from (number of tasks, bar) of each; blank where there is none."""
    total = sum(count for count, _ in parts)
    if not total:
        return ""
    made = ""
    before = 0
    for count, bar in parts:
        before += count
        width = before * length // total - len(made)
        source = bar or " "
        made += "".join(source[i * len(source) // width] for i in range(width))
    return made


# Renders


def render_row(render: RenderNode) -> Row:
    """A row of the list of renders."""
    fields = render.fields
    return {
        "id": render.id,
        "name": _short(render.name),
        "states": list(render.states),
        "user": _short(render.user_name),
        "priority": render.priority,
        "capacity": render.capacity,
        "capacity_used": render.capacity_used,
        "max_tasks": render.max_tasks,
        "tasks": [
            {
                "job": task.job,
                "block": task.block,
                "task": task.task,
                "name": _short(task.name),
                "job_name": _short(task.job_name),
                "block_name": _short(task.block_name),
                "user": _short(task.user_name),
                "service": _short(task.service),
                "started": task.started,
                "percent": task.percent,
            }
            for task in render.tasks
        ],
        "idle_since": _since(fields, "idle_time"),
        "busy_since": _since(fields, "busy_time"),
        "annotation": _short(text_of(fields, "annotation")),
        "address": render.address,
        "engine": text_of(fields, "engine"),
        "os": text_of(fields, "os"),
        "services": list(texts_of(fields, "services")),
        "services_disabled": list(texts_of(fields, "services_disabled")),
        "pool": text_of(fields, "pool"),
        "hidden": flag_of(fields, "hidden"),
        "properties": text_of(fields, "properties_host"),
        "registered": integer_of(fields, "time_register"),
    }


def _since(fields: Mapping[str, Any], key: str) -> int:
    """When a host became idle or busy; 0 while it is not: a server then gives the present time."""
    since, updated = integer_of(fields, key), integer_of(fields, "time_update")
    return 0 if not since or since >= updated - 1 else since


def render_details(render: RenderNode) -> Row:
    """What the page of one render shows beside its row."""
    return {
        "custom_data": _short(text_of(render.fields, "custom_data")),
        "netifs": [
            {
                "name": text_of(each, "name"),
                "mac": text_of(each, "mac"),
                "addresses": [text_of(one, "ip") for one in objects_of(each, "addresses")],
            }
            for each in objects_of(render.fields, "netifs")[:_MAX_NETIFS]
        ],
    }


def load_figures(load: Mapping[str, Any]) -> Figures:
    """The figures of a load in the order of `LOAD_FIELDS`; None: unknown."""

    def share(used: int, total: int) -> int | None:
        return max(0, min(100, round(100 * used / total))) if total > 0 else None

    def rate(key: str) -> float | None:
        return round(max(0, integer_of(load, key)) / 1024, 1) if key in load else None

    memory, free = integer_of(load, "mem_total_mb"), integer_of(load, "mem_free_mb")
    swap, disk = integer_of(load, "swap_total_mb"), integer_of(load, "hdd_total_gb")
    cards = integer_of(load, "gpu_mem_total_mb")
    return (
        max(0, min(100, 100 - integer_of(load, "cpu_idle", 100))),
        share(memory - free, memory),
        share(integer_of(load, "swap_used_mb"), swap),
        max(0, min(100, integer_of(load, "gpu_gpu_util"))) if cards else None,
        share(integer_of(load, "gpu_mem_used_mb"), cards),
        max(0, min(100, integer_of(load, "hdd_busy"))),
        rate("net_recv_kbsec"),
        rate("net_send_kbsec"),
        share(disk - integer_of(load, "hdd_free_gb"), disk),
    )


def settle_load(old: Figures | None, new: Figures) -> Figures:
    """The figures to show: small changes of each keep the old one, so that a host at rest is quiet."""
    if old is None:
        return new
    shown = list(new)
    for at, (before, now) in enumerate(zip(old, new, strict=True)):
        if before is None or now is None:
            continue
        # 2 percent, or for rates, whose figures may be large, a tenth.
        if abs(now - before) <= max(2.0 if now else 0.9, abs(before) / 10):
            shown[at] = before
    return tuple(shown)


def meter_objects(load: Mapping[str, Any]) -> list[Row]:
    """The meters that a studio has added to its hosts, with their own colours and sizes."""
    return [
        {
            "label": _short(text_of(each, "label")),
            "tooltip": _short(text_of(each, "tooltip")),
            "value": integer_of(each, "value"),
            "value_max": integer_of(each, "value_max", 100),
            "width": _size(each, "width"),
            "height": _size(each, "height"),
            "label_size": _size(each, "label_size"),
            "graph_colour": _colour(each, "graph_clr"),
            "label_colour": _colour(each, "label_clr"),
            "back_colour": _colour(each, "back_clr"),
        }
        for each in objects_of(load, "custom")[:_MAX_METERS]
    ]


def _size(fields: Mapping[str, Any], key: str) -> int:
    return max(0, min(1000, integer_of(fields, key)))


def _colour(fields: Mapping[str, Any], key: str) -> str:
    value = fields.get(key)
    parts = value if isinstance(value, list) else []
    numbers = [max(0, min(255, part)) if isinstance(part, int) else 0 for part in [*parts, 0, 0, 0]]
    return "#{:02x}{:02x}{:02x}".format(*numbers[:3])


# Users and pools


def user_row(user: UserNode) -> Row:
    """A row of the list of users."""
    return {
        "id": user.id,
        "name": _short(user.name),
        "priority": user.priority,
        "paused": flag_of(user.fields, "paused"),
        "jobs": integer_of(user.fields, "jobs_num"),
        "annotation": _short(text_of(user.fields, "annotation")),
    }


def pool_row(pool: PoolNode) -> Row:
    """A row of the list of pools."""
    return {
        "id": pool.id,
        "name": _short(pool.name),
        "paused": "PAU" in pool.states,
        "priority": integer_of(pool.fields, "priority"),
        "annotation": _short(text_of(pool.fields, "annotation")),
        "renders": integer_of(pool.fields, "renders_total"),
    }
