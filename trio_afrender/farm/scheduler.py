"""Who gets what: jobs by priority, blocks and tasks in order, spread over the renders.

Nothing here looks at all tasks: a block's ready tasks stand in a heap, and only renders that may
have become able to take something are asked.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from trio_afrender.farm.model import Block, Job, RenderState, Run, Task, TaskState
from trio_afrender.farm.placement import (
    avoids_block,
    avoids_task,
    coefficient,
    why_not_eligible,
    why_unavailable,
)
from trio_afrender.farm.state import FarmState
from trio_afrender.jobs.job_spec import BlockSpec, JobSpec, TaskSpec
from trio_afrender.protocol.messages import TaskExec

__all__ = ("assign", "make_exec", "why_waiting")

_LISTENED = 1
"""The bit of `TaskExec.flags` for a task whose output is listened to."""
_NO_TASK = TaskSpec()


def assign(state: FarmState, now: float) -> None:
    """Hand out what can be handed out, one task a render in turn, the least busy first."""
    all_freed, state.all_freed = state.all_freed, False
    freed, state.freed = state.freed, set()
    if not state.ready or not (all_freed or freed):
        return
    names = state.renders if all_freed else sorted(freed)
    renders = [r for r in map(state.renders.__getitem__, names) if not why_unavailable(r, now)]
    while renders and state.ready:
        renders.sort(key=lambda r: (-r.register.priority, len(r.running), r.id))
        renders = [r for r in renders if not why_unavailable(r, now) and _serve(state, r, now)]


def _serve(state: FarmState, render: RenderState, now: float) -> bool:
    """Give a render its next task, if there is one for it."""
    for job in state.order:
        if not job.counts[TaskState.READY]:
            continue
        for block in job.blocks:
            if not block.counts[TaskState.READY] or why_not_eligible(render, job, block):
                continue
            if avoids_block(state, render, block, now):
                continue
            task = _pop_task(state, render, block)
            if task is not None:
                _hand_out(state, render, task, now)
                return True
    return False


def _pop_task(state: FarmState, render: RenderState, block: Block) -> Task | None:
    """The first ready task of a block that need not avoid this render."""
    aside: list[tuple[int, int]] = []
    found: Task | None = None
    while block.ready and found is None:
        entry = heapq.heappop(block.ready)
        task = block.tasks[entry[1]]
        if task.state is not TaskState.READY:
            continue
        if avoids_task(state, render, task):
            aside.append(entry)
        else:
            found = task
    for entry in aside:
        heapq.heappush(block.ready, entry)
    return found


def _hand_out(state: FarmState, render: RenderState, task: Task, now: float) -> None:
    block, job = task.block, task.block.job
    coeff = coefficient(render, block.spec)
    task.attempts += 1
    run = Run(
        id=state.make_run(),
        task=task,
        attempt=task.attempts,
        render=render,
        capacity=block.spec.capacity * max(1, coeff),
        assigned=now,
        progressed=now,
    )
    state.runs[run.id] = run
    task.status = task.exit_code = task.finished = None
    task.percent = task.frame = task.percentframe = 0
    task.activity = task.report = task.resources = ""
    task.usage = None
    task.started = state.wall()
    if job.started is None:
        job.started = task.started
    state.attach(run, now)
    state.log(task, f'attempt {task.attempts}: handed to render "{render.name}", run {run.id}')
    render.outbox.tasks[run.id] = make_exec(run, coeff, task.started)
    state.wake(render)


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


def why_waiting(state: FarmState, job: Job, now: float) -> tuple[str, ...]:
    """Sentences on why ready tasks of a job are not handed out; () when none is kept waiting."""
    if job.held:
        return ("the job waits for another one or for its time",)
    if not job.counts[TaskState.READY]:
        return ()
    online = [render for render in state.renders.values() if render.online]
    if not online:
        return ("no render is online",)
    found: dict[str, None] = {}
    for block in job.blocks:
        if not block.counts[TaskState.READY]:
            continue
        for render in online:
            reason = (
                why_unavailable(render, now)
                or why_not_eligible(render, job, block)
                or "it comes next"
            )
            found[f'block "{block.spec.name}", render "{render.name}": {reason}'] = None
    return tuple(found)
