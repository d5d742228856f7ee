"""Editable parameters of jobs, blocks and users: Afanasy's keys, their types and ranges. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from trio_afrender.errors import EditRefused
from trio_afrender.farm.edit_values import (
    INT8,
    INT32,
    Reader,
    flag,
    number,
    one_of,
    pattern,
    text,
)
from trio_afrender.jobs.host_masks import MASK_TYPES
from trio_afrender.jobs.job_spec import HostNeeds
from trio_afrender.text import show_json

__all__ = (
    "BLOCK_PARAMETERS",
    "JOB_PARAMETERS",
    "NEEDS",
    "SPELLINGS",
    "USER_PARAMETERS",
    "merge_table",
    "split_needs",
)

_INT64 = 2**53
"""Larger integers may have lost digits on their way: many programs read them as doubles."""
_LIMIT = number(-1)

NEEDS = frozenset(field.name for field in attrs.fields(HostNeeds))
"""Keys whose values are in `HostNeeds`."""

SPELLINGS = {"ignorenimby": "ignore_nimby", "ignorepaused": "ignore_paused"}
"""Afanasy's keys that have another name in `JobSpec`."""


def _refuse(reason: str) -> Reader:
    """A key that this farm knows and has no use for."""

    def read(key: str, value: object) -> object:
        raise EditRefused(f"{key}: {reason}")

    return read


def _only(meaning: str, *allowed: object) -> Reader:
    """A key with one possible meaning here."""

    def read(key: str, value: object) -> object:
        if value not in allowed:
            raise EditRefused(f"{key}: {meaning}, found {show_json(value)}")
        return value

    return read


def merge_table(key: str, value: object) -> dict[str, str | None]:
    """An object whose entries go into what is there; null removes an entry."""
    if not isinstance(value, Mapping):
        raise EditRefused(f"{key}: expected an object of strings, found {show_json(value)}")
    return {
        text(key, name): None if entry is None else text(f"{key}.{name}", entry)
        for name, entry in value.items()
    }


def _pools(key: str, value: object) -> object:
    if not isinstance(value, Mapping) or not set(value) <= {"/"}:
        raise EditRefused(f'{key}: this farm has the pool "/" only, found {show_json(value)}')
    return value


_NODE: dict[str, Reader] = {
    "annotation": text,
    "custom_data": text,
    "srv_info": text,
    "priority": number(0, 255),
    "hidden": flag,
}
"""What jobs and users have both; a block has the second and the third."""

_BOTH_NEEDS: dict[str, Reader] = {
    "max_running_tasks": _LIMIT,
    "max_running_tasks_per_host": _LIMIT,
    "need_power": _LIMIT,
    "need_memory": number(-1),
    "need_hdd": number(-1),
    # Texts: whether they are expressions depends on `hosts_mask_type`.
    "hosts_mask": text,
    "hosts_mask_exclude": text,
    "need_os": text,
    "need_properties": text,
}

_WORK: dict[str, Reader] = {
    **_BOTH_NEEDS,
    "max_tasks_per_second": number(-1, 10_000),
    "hosts_mask_type": one_of(*MASK_TYPES),
    "pools": _pools,
    "solve_method": _only('this farm solves by "solve_order" only', "solve_order"),
    "solve_need": _only("it has no effect with solve_order", "solve_tasksnum", "solve_capacity"),
}

JOB_PARAMETERS: dict[str, Reader] = {
    **_NODE,
    **_WORK,
    "user_name": text,
    "description": text,
    "offline": flag,
    "ppa": flag,
    "maintenance": flag,
    "ignorenimby": flag,
    "ignorepaused": flag,
    "time_life": number(-1),
    "time_wait": number(0, _INT64),
    "depend_mask": pattern,
    "depend_mask_global": pattern,
    "folders": merge_table,
    "branch": _only('this farm has the branch "/" only', "/"),
}

BLOCK_PARAMETERS: dict[str, Reader] = {
    **_BOTH_NEEDS,
    "name": text,
    "service": text,
    "parser": text,
    "command": text,
    "working_directory": text,
    "tasks_name": text,
    "custom_data": text,
    "srv_info": text,
    "environment": merge_table,
    "sequential": number(-_INT64, _INT64),
    "capacity": number(1),
    "need_gpu_mem_mb": _LIMIT,
    "need_cpu_freq_mgz": _LIMIT,
    "need_cpu_cores": _LIMIT,
    "need_cpu_freq_cores": _LIMIT,
    "depend_mask": pattern,
    "tasks_depend_mask": pattern,
    "errors_retries": number(-1, INT8),
    "errors_avoid_host": number(-1, INT8),
    "errors_task_same_host": number(-1, INT8),
    "errors_forgive_time": _LIMIT,
    "task_max_run_time": number(0),
    "task_min_run_time": number(0),
    "task_progress_change_timeout": _LIMIT,
    "parser_coeff": number(-INT32),
    "command_pre": _refuse("this farm runs no commands before or after the tasks of a block"),
    "command_post": _refuse("this farm runs no commands before or after the tasks of a block"),
    "tickets": _refuse("this farm has no tickets"),
}

USER_PARAMETERS: dict[str, Reader] = {
    **_NODE,
    **_WORK,
    "paused": flag,
    # As for blocks, but -1 is the farm's own setting.
    "errors_retries": number(-1, 255),
    "errors_avoid_host": number(-1, 255),
    "errors_task_same_host": number(-1, 255),
    "errors_forgive_time": _LIMIT,
    "jobs_life_time": _LIMIT,
}

_WITHOUT_EFFECT = ("pools", "solve_method", "solve_need", "branch")
"""Keys whose only possible value changes nothing."""


def split_needs(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The attributes of a record and those of its `HostNeeds` that parameters set."""
    own, needs = {}, {}
    for key, value in values.items():
        if key in NEEDS:
            needs[key] = value
        elif key not in _WITHOUT_EFFECT:
            own[SPELLINGS.get(key, key)] = value
    return own, needs
