"""Makes the message that submits a job to an afserver, with the meaning that `job_file` gives it.

The server reads the keys it knows by exact types and ignores the rest without a message. A job that
it finds invalid ends the server process (version 3.4.1). So the file is checked as for the embedded
farm, and keys that `job_file` accepts in several forms are sent in the server's form. All other
keys are sent as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from trio_afrender.errors import JobError
from trio_afrender.jobs.job_spec import BlockSpec, JobSpec

__all__ = ("make_submission", "prefix_commands", "prefixed")

_JOB_STATE = frozenset(
    {"id", "serial", "st", "state", "time_creation", "time_started", "time_done", "user_list_order"}
)
_BLOCK_STATE = frozenset({"st", "state", "job_id", "block_num", "time_started", "time_done"}) | {
    "tasks_num", "srv_info", "running_tasks_counter", "running_capacity_counter",
}  # fmt: skip
"""State that servers save with a job: a new job with it would be done before it begins."""
_OLD_KEYS = {
    "cmd_pre": "command_pre",
    "cmd_post": "command_post",
    "tasks_max_run_time": "task_max_run_time",
}
"""Keys as servers save them, and as they read them."""
_OLD_FLAGS = ("numeric", "non_sequential")
"""Keys of older jobs that the flags and ``sequential`` replace."""
_SMALL = ("errors_retries", "errors_avoid_host", "errors_task_same_host")
_INT8, _INT32 = 2**7 - 1, 2**31 - 1
_LARGE = frozenset({"flags", "sequential", "frame_first", "frame_last", "frames_per_task"}) | {
    "frames_inc", "file_size_min", "file_size_max",
}  # fmt: skip
"""Numbers of a block that the server reads with 64 bits; `_SMALL` with 8, all others with 32."""
_MAX_NAME = 240
"""Bytes of a job's name on an afserver. Its folder is called ID.NAME; where a file system cannot make
that (255 bytes), version 3.4.1 crashes."""


def make_submission(
    job: Mapping[str, Any],
    spec: JobSpec,
    *,
    user_name: str,
    host_name: str,
    prefix: str = "",
    to_server: Callable[[str], str] = str,
    own_farm: bool = False,
) -> dict[str, Any]:
    """Make the message ``{"job": ...}``. `job` is the object that `spec` was read from.

    `user_name` is used if the job has none. `to_server` maps a path of this host to the server's:
    a working folder that was relative to the job file is such a path, all others in a job file are
    the server's already. `own_farm`: the server is a farm of this program. Raises `JobError` for
    numbers that the server would read wrongly, and for a name that would end an afserver.
    """
    if not own_farm and (length := len(spec.name.encode("utf-8", "surrogatepass"))) > _MAX_NAME:
        text = f"{length:,} bytes; a job with more than {_MAX_NAME} would end an afserver"
        raise JobError("name", text)
    sent = {_OLD_KEYS.get(key, key): value for key, value in job.items() if key not in _JOB_STATE}
    for i, each in enumerate(job["blocks"]):
        for key, value in each.items():
            # The server cuts or ignores a number that does not fit, without a message.
            limit = _INT8 if key in _SMALL else _INT32
            if isinstance(value, int) and key not in _LARGE and not -limit <= value <= limit:
                text = f"{value} is more than a server can take, {limit:,}"
                raise JobError(f"blocks[{i}].{key}", text)
    blocks = zip(job["blocks"], spec.blocks, strict=True)
    sent |= {
        "name": spec.name,
        "user_name": spec.user_name or user_name,
        "host_name": host_name,
        "priority": spec.priority,
        "blocks": [_make_block(raw, block, prefix, to_server) for raw, block in blocks],
    }
    return {"job": sent}


def prefix_commands(prefix: str, spec: JobSpec) -> JobSpec:
    """Apply ``af_cmdprefix`` to the blocks of a job, as a submission does."""
    blocks = (attrs.evolve(b, command=prefixed(prefix, b.command)) for b in spec.blocks)
    return attrs.evolve(spec, blocks=tuple(blocks))


def prefixed(prefix: str, command: str) -> str:
    """A block's command with ``af_cmdprefix`` before it, once.

    An empty command stays empty: the tasks then have whole commands of their own.
    """
    return command if not command or command.startswith(prefix) else prefix + command


def _make_block(
    raw: Mapping[str, Any], block: BlockSpec, prefix: str, to_server: Callable[[str], str]
) -> dict[str, Any]:
    sent = {
        _OLD_KEYS.get(key, key): value
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
        sent["tasks"] = [
            {
                **old,
                "name": task.name,
                "command": task.command,
                "files": list(task.files),
                "environment": dict(task.environment),
            }
            for old, task in tasks
        ]
    return sent
