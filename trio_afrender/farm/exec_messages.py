"""A run as a render is told of it."""

from __future__ import annotations

from collections.abc import Mapping

from trio_afrender.farm.model import RenderState, Run
from trio_afrender.jobs.job_spec import BlockSpec, JobSpec, TaskSpec
from trio_afrender.protocol.messages import TaskExec

__all__ = ("make_exec",)

_LISTENED = 1
_NO_TASK = TaskSpec()


def make_exec(run: Run, coeff: int, started: float) -> TaskExec:
    """Build the exec of a run that its render already counts among its own."""
    block, job = run.task.block, run.task.block.job
    spec = block.spec
    number = run.key.task
    own = _NO_TASK if spec.numeric else spec.tasks[number]
    start, finish, count = spec.frames(number)
    return TaskExec(
        run=run.id,
        **run.key._asdict(),
        name=spec.task_name(number),
        block_name=spec.name,
        job_name=job.spec.name,
        user_name=job.spec.user_name,
        service=spec.service,
        parser=spec.parser,
        command_block=spec.command,
        command_task=own.command,
        working_directory=spec.working_directory,
        environment=_overlay(spec.environment, own.environment),
        files_block=spec.files,
        files_task=own.files,
        flags=_LISTENED if run.task.listeners else 0,
        block_flags=spec.flags,
        frame_start=start,
        frame_finish=finish,
        frames_inc=spec.frames_inc,
        frames_num=count,
        capacity=spec.capacity,
        capacity_coeff=coeff,
        data_integers=_integers(run.render, spec),
        data_strings=_strings(job.spec, spec, own),
        time_start=int(started),
    )


def _overlay(block: Mapping[str, str], task: Mapping[str, str]) -> Mapping[str, str]:
    return {**block, **task} if task else block


def _integers(render: RenderState, spec: BlockSpec) -> dict[str, int]:
    found = {
        "render_capacity_total": render.register.capacity,
        "render_capacity_used": render.capacity_used,
        "render_tasks_maximum": render.register.max_tasks,
        "render_tasks_running": len(render.running),
    }
    if spec.parser_coeff != 1:
        found["parser_koeff"] = spec.parser_coeff
    for name in ("file_size_min", "file_size_max"):
        size: int = getattr(spec, name)
        if size != -1:
            found[name] = size
    return found


def _strings(job: JobSpec, spec: BlockSpec, own: TaskSpec) -> dict[str, str]:
    found = {} if spec.numeric else {"task_custom_data": own.custom_data}
    if spec.custom_data:
        found["block_custom_data"] = spec.custom_data
    if job.custom_data:
        found["job_custom_data"] = job.custom_data
    return found
