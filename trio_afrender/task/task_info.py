"""Afanasy's taskInfo: the description of a task that services and parsers get, in plain JSON values."""

from __future__ import annotations

import json
from collections.abc import Mapping

from trio_afrender.config.settings import read_rules
from trio_afrender.protocol.messages import TaskExec

__all__ = ("make_task_info", "read_own_checks")

CUSTOM_DATA = ("job_custom_data", "block_custom_data", "task_custom_data")
"""Texts that an owner of a job may add to it. The later ones override the earlier ones."""


def make_task_info(task: TaskExec, store_dir: str) -> dict[str, object]:
    """Return taskInfo with Afanasy's keys; `store_dir` is the folder for thumbnails.

    Some keys exist only under the conditions of the original: file sizes unless -1, custom data unless
    empty, ``parser_koeff`` unless 1.
    """
    # Plugins of studios read these keys: names and types are Afanasy's, not ours.
    info: dict[str, object] = {
        "wdir": task.working_directory,
        "service": task.service,
        "parser": task.parser,
        "command_block": task.command_block,
        "command_task": task.command_task,
        "capacity": task.capacity,
        "capacity_coeff": task.capacity_coeff,
        "files_block": list(task.files_block),
        "files_task": list(task.files_task),
        "hosts": list(task.multihost_names),
        "parsed_files": list(task.parsed_files),
        "environment": dict(task.environment),
        "tickets": dict(task.tickets),
        "frame_start": task.frame_start,
        "frame_finish": task.frame_finish,
        "frame_inc": task.frames_inc,
        "frames_num": task.frames_num,
        "task_id": task.task,
        "block_id": task.block,
        "job_id": task.job,
        "block_flags": task.block_flags,
        "task_name": task.name,
        "block_name": task.block_name,
        "job_name": task.job_name,
        "user_name": task.user_name,
        "store_dir": store_dir,
    }
    # The keys with conditions: the sender of the exec has left out those that do not apply.
    info.update(task.data_integers)
    info.update(task.data_strings)
    return info


def read_own_checks(texts: Mapping[str, str]) -> tuple[dict[str, object], tuple[str, ...]]:
    """Return the checks that the custom data of job, block and task set, and what is wrong with them.

    Custom data may be anything. A JSON object in it counts: ``{"checks": {"assets": "error"}}``.
    """
    checks: dict[str, object] = {}
    problems: list[str] = []
    for name in CUSTOM_DATA:
        text = texts.get(name, "")
        if '"checks"' not in text:
            continue  # most texts are not for the agent
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(data, dict):
            own, wrong = read_rules("checks", data.get("checks"), owner=name)
            checks.update(own)
            problems.extend(wrong)
    return checks, tuple(problems)
