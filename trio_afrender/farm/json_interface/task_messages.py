"""Messages about one task: output, log, what its render is given. Pure functions."""

from __future__ import annotations

from trio_afrender.farm.json_interface.answers import Answer
from trio_afrender.farm.json_interface.job_objects import progress_item, task_error_lines
from trio_afrender.farm.json_interface.node_fields import unix_time, without_empty
from trio_afrender.farm.model import Task
from trio_afrender.farm.state import FarmState
from trio_afrender.protocol.messages import TaskKey

__all__ = ("describe_exec", "describe_task", "progress_of", "task_error_hosts")


def progress_of(state: FarmState, key: TaskKey) -> Answer | None:
    """The progress of a task; None for one that is gone."""
    try:
        return progress_item(state.find_task(key), int(state.wall()))
    except KeyError:
        return None


def describe_task(
    state: FarmState, key: TaskKey, kind: str, text: str, *, about: Answer | None = None
) -> Answer:
    """A message about a task, also about one that is gone. `key.number` is an attempt, 0: the last.

    `kind` is ``TOutput``, ``TLog`` and so on; `about` is what its render is given.
    """
    try:
        task = state.find_task(key._replace(number=0))
    except KeyError:
        names = dict.fromkeys(("job_name", "block_name", "task_name", "service", "parser"), "")
        progress: Answer = {"state": "", "st": 0}
        render = 0
    else:
        spec = task.block.spec
        names = {
            "job_name": task.block.job.spec.name,
            "block_name": spec.name,
            "task_name": spec.task_name(key.task),
            "service": spec.service,
            "parser": spec.parser,
        }
        progress = progress_item(task, int(state.wall()))
        render = task.run.render.id if task.run and kind in ("TOutput", "TListen") else 0
    made: Answer = {"type": kind, "render_id": render, **names}
    made["pos"] = {"job": key.job, "block": key.block, "task": key.task, "number": key.number}
    made["progress"] = progress
    if about is not None:
        made["exec"] = about
    made["data"] = text
    return made


def describe_exec(task: Task) -> Answer:
    """What a render is given of a task. Patterns of frame numbers are not filled in."""
    spec, number = task.block.spec, task.key.task
    own = None if spec.numeric else spec.tasks[number]
    start, finish, count = spec.frames(number)
    made: Answer = {
        "name": spec.task_name(number),
        "service": spec.service,
        "capacity": spec.capacity,
        "time_start": unix_time(task.started),
        "block_name": spec.name,
        "job_id": task.key.job,
        "block_num": task.key.block,
        "task_num": number,
        "command_block": spec.command,
        "command_task": own.command if own else "",
        "frame_start": start,
        "frame_finish": finish,
        "frames_inc": spec.frames_inc,
        "frames_num": count,
    }
    return made | without_empty(
        parser=spec.parser,
        working_directory=spec.working_directory,
        environment={**spec.environment, **(own.environment if own else {})},
        files_block=list(spec.files),
        files_task=list(own.files) if own else [],
    )


def task_error_hosts(state: FarmState, task: Task, now: float) -> str:
    """Which renders failed how often at a task; empty if none did."""
    return "\n".join(task_error_lines(state, task, now))
