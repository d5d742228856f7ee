"""Limits the size of a task: it has to fit into one message, whose size is limited."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from trio_afrender.errors import JobError
from trio_afrender.jobs.job_spec import JobSpec
from trio_afrender.protocol.messages import TaskExec
from trio_afrender.text import json_size

__all__ = ("MAX_TASK", "check_sizes", "weigh")

MAX_TASK = 2 * 1024 * 1024
"""Bytes of JSON for the texts of one task; a websocket message may have four times as many."""
_OVERHEAD = 1000
"""Bytes for everything that is not text, rounded up."""


def _cost(texts: Iterable[str]) -> int:
    """Bytes of texts in JSON."""
    return sum(map(json_size, texts))


def _tables(*tables: Mapping[str, str]) -> Iterable[str]:
    return (text for table in tables for pair in table.items() for text in pair)


def weigh(task: TaskExec) -> int:
    """Estimate how many bytes a task takes in a message, rather too many than too few."""
    return _OVERHEAD + _cost(
        (
            task.name,
            task.block_name,
            task.job_name,
            task.user_name,
            task.service,
            task.parser,
            task.command_block,
            task.command_task,
            task.working_directory,
            *task.files_block,
            *task.files_task,
            *_tables(task.environment, task.data_strings),
        )
    )


def check_sizes(job: JobSpec) -> None:
    """Raise `JobError` for a block or task that does not fit into a message."""
    shared = _OVERHEAD + _cost((job.name, job.user_name, job.custom_data))
    for i, block in enumerate(job.blocks):
        size = shared + _cost(
            (
                block.name,
                block.service,
                block.parser,
                block.command,
                block.working_directory,
                block.tasks_name,
                block.custom_data,
                *block.files,
                *_tables(block.environment),
            )
        )
        if size > MAX_TASK:
            raise JobError(f"blocks[{i}]", f"{size:,} bytes, more than fit into one message")
        for j, task in enumerate(block.tasks):
            own = (task.name, task.command, task.custom_data, *task.files)
            if size + _cost((*own, *_tables(task.environment))) > MAX_TASK:
                raise JobError(f"blocks[{i}].tasks[{j}]", "too large for one message")
