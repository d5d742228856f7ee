"""Files of tasks, by the names that the farm has given them."""

from __future__ import annotations

import re
from functools import partial
from urllib.parse import unquote

import trio

from trio_afrender.farm.json_interface.answers import Answer
from trio_afrender.farm.json_interface.http_head import HttpAnswer, HttpRefused
from trio_afrender.farm.json_interface.served_files import serve_task_file
from trio_afrender.farm.model import Task
from trio_afrender.farm.state import FarmState
from trio_afrender.protocol.messages import TaskKey
from trio_afrender.tasklog.io_threads import call_in_thread

__all__ = ("TASK_FILES", "describe_task_files", "find_task_file", "read_task_file")

TASK_FILES = "/@TMP@"
"""What the address of a task's file begins with; its path follows."""
_PATH = re.compile(r"(?:.*)/(\d{1,9})/(\d{1,9})\.(\d{1,9})/files/([^/]+)", re.DOTALL)
"""The end of a path in a store: job, block and task, name."""


def describe_task_files(state: FarmState, task: Task) -> Answer:
    """The files of a task."""
    paths = [state.texts.path(task.key, name).as_posix() for name in task.files]
    return {
        "job_id": task.key.job,
        "block_id": task.key.block,
        "task_id": task.key.task,
        "files": [{"name": path} for path in paths],
    }


def find_task_file(state: FarmState, target: str) -> tuple[TaskKey, str] | None:
    """The task and the name of a file that a browser asks for; None if it asks for something else.

    Raises `HttpRefused` for a file that the farm does not know: a path is never used as it is.
    """
    if not target.startswith(TASK_FILES):
        return None
    path = unquote(target.removeprefix(TASK_FILES), errors="surrogateescape")
    if match := _PATH.fullmatch(path):
        key = TaskKey(int(match[1]), int(match[2]), int(match[3]), 0)
        try:
            known = match[4] in state.find_task(key).files
        except KeyError:
            known = False
        if known and state.texts.path(key, match[4]).as_posix() == path:
            return key, match[4]
    raise HttpRefused(404, "no task has such a file")


async def read_task_file(
    state: FarmState, key: TaskKey, name: str, threads: trio.CapacityLimiter
) -> HttpAnswer:
    """Return a file of a task: images by type, all else as text. Raises `HttpRefused`."""
    try:
        if state.texts.in_memory:
            await trio.lowlevel.checkpoint()
            body = state.texts.read_file(key, name)
        else:
            read = partial(state.texts.read_file, key, name)
            body = await call_in_thread(read, limiter=threads)
    except OSError as error:
        raise HttpRefused(404, f"the file cannot be read: {error.strerror}") from None
    return serve_task_file(name, body)
