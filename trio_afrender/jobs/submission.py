"""A job file -> what is sent to an afserver, so that it means there what it means to `jobfile`.

The server reads what it knows by exact types and passes over the rest without a word; a job that
it finds invalid ends it (3.4.1). So the file is checked as for the embedded farm, and what `jobfile`
understands in several ways is written in the server's. All other keys travel as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from trio_afrender.errors import JobError
from trio_afrender.jobs.job_spec import BlockSpec, JobSpec, TaskSpec

__all__ = ("make_submission", "prefix_commands", "prefixed")

_JOB_STATE = frozenset(
    {"id", "serial", "st", "state", "time_creation", "time_started", "time_done", "user_list_order"}
)
_BLOCK_STATE = frozenset({"st", "state", "job_id", "block_num", "time_started", "time_done"}) | {
    "tasks_num", "srv_info", "running_tasks_counter", "running_capacity_counter",
}  # fmt: skip
"""What servers save beside a job: a new job that came with it would be done before it began."""
_OLD_WORDS = {
    "cmd_pre": "command_pre",
    "cmd_post": "command_post",
    "tasks_max_run_time": "task_max_run_time",
}
"""How servers save some keys, and how they read them."""
_OLD_FLAGS = ("numeric", "non_sequential")
_SMALL = ("errors_retries", "errors_avoid_host", "errors_task_same_host")
_INT8, _INT32 = 2**7 - 1, 2**31 - 1
_LARGE = frozenset({"flags", "sequential", "frame_first", "frame_last", "frames_per_task"}) | {
    "frames_inc", "file_size_min", "file_size_max",
}  # fmt: skip
"""Numbers of a block that the server reads with 64 bits; all others with 32, the small with 8."""


def make_submission(
    job: Mapping[str, Any],
    spec: JobSpec,
    *,
    user_name: str,
    host_name: str,
    prefix: str = "",
    to_server: Callable[[str], str] = str,
) -> dict[str, Any]:
    """What to send: ``{"job": ...}``. `job` is the object that `spec` was read from.

    `user_name` counts when the job names none. `to_server` maps a path of this host: a working
    folder that was relative to the job file is one, all else in a job file is the server's already.
    Raises `JobError` for numbers that a server would mistake.
    """
    sent = {_OLD_WORDS.get(key, key): value for key, value in job.items() if key not in _JOB_STATE}
    for i, each in enumerate(job["blocks"]):
        _check_numbers(each, f"blocks[{i}]")
    blocks = zip(job["blocks"], spec.blocks, strict=True)
    sent |= {
        "name": spec.name,
        "user_name": spec.user_name or user_name,
        "host_name": host_name,
        "priority": spec.priority,
        "blocks": [_block(raw, block, prefix, to_server) for raw, block in blocks],
    }
    return {"job": sent}


def prefix_commands(prefix: str, spec: JobSpec) -> JobSpec:
    """The job as a server would have it after a submission with that prefix."""
    blocks = (attrs.evolve(b, command=prefixed(prefix, b.command)) for b in spec.blocks)
    return attrs.evolve(spec, blocks=tuple(blocks))


def _check_numbers(block: Mapping[str, Any], path: str) -> None:
    """A number that does not fit is cut or passed over by the server, without a word."""
    for key, value in block.items():
        limit = _INT8 if key in _SMALL else _INT32
        if isinstance(value, int) and key not in _LARGE and not -limit <= value <= limit:
            raise JobError(f"{path}.{key}", f"{value} is more than a server can take, {limit:,}")


def prefixed(prefix: str, command: str) -> str:
    """A block's command with ``af_cmdprefix`` before it, once. None is made of an empty one:
    then each task's command stands for itself."""
    return command if not command or command.startswith(prefix) else prefix + command


def _block(
    raw: Mapping[str, Any], block: BlockSpec, prefix: str, to_server: Callable[[str], str]
) -> dict[str, Any]:
    sent = {
        _OLD_WORDS.get(key, key): value
        for key, value in raw.items()
        if key not in _BLOCK_STATE and key not in _OLD_FLAGS and not key.startswith("p_")
    }
    folder = block.working_directory
    if folder and folder != raw.get("working_directory"):
        folder = to_server(folder)
    sent |= {
        "name": block.name,
        "service": block.service,
        "flags": block.flags,
        "sequential": block.sequential,
        "command": prefixed(prefix, block.command),
        "working_directory": folder,
        "files": list(block.files),
        "environment": dict(block.environment),
        "frames_per_task": block.frames_per_task,
        "frames_inc": block.frames_inc,
    }
    if block.numeric:
        sent.pop("tasks", None)
    else:
        tasks = zip(raw["tasks"], block.tasks, strict=True)
        sent["tasks"] = [_task(old, task) for old, task in tasks]
    return sent


def _task(raw: Mapping[str, Any], task: TaskSpec) -> dict[str, Any]:
    texts = {"name": task.name, "command": task.command}
    return {**raw, **texts, "files": list(task.files), "environment": dict(task.environment)}
