"""Assigns tasks to renders: jobs by priority, blocks and tasks in order, spread over renders.

No function here iterates over all tasks: the ready tasks of a block are in a heap, and only
renders that may have become able to take a task are considered. `why_waiting` explains the result.
"""

from __future__ import annotations

import heapq

import attrs

from trio_afrender.farm.model import Block, Job, RenderState, Run, Task, TaskState
from trio_afrender.farm.obstacles import Obstacle, ObstacleKind
from trio_afrender.farm.placement import (
    coefficient,
    least_capacity,
    why_avoided_by_block,
    why_job_rests,
    why_not_for_block,
    why_not_for_job,
    why_not_for_task,
    why_unavailable,
)
from trio_afrender.farm.render_sleep import wake_for_tasks
from trio_afrender.farm.render_states import Presence, RenderEvent
from trio_afrender.farm.state import FarmState
from trio_afrender.farm.task_bits import TaskBit
from trio_afrender.jobs.job_spec import TaskSpec
from trio_afrender.protocol.messages import TaskExec

__all__ = ("assign", "make_exec")

_LISTENED = 1
"""The bit of `TaskExec.flags` that has new output sent as it comes."""
_AVOIDED = (ObstacleKind.AVOIDED_BY_BLOCK, ObstacleKind.AVOIDED_BY_TASK)
_NO_TASK = TaskSpec()


def assign(state: FarmState, now: float) -> None:
    """Assign all tasks that can be assigned, each to the render that comes first then."""
    all_freed, state.all_freed = state.all_freed, False
    state.avoided = state.avoided and not all_freed
    freed, state.freed = state.freed, set()
    fresh, state.fresh_blocks = state.fresh_blocks, set()
    if state.ready and (all_freed or freed or fresh):
        if all_freed:
            freed |= state.renders.keys()
        considered = state.renders.values() if fresh else _existing(state, freed)
        queue = [(_rank(r), r) for r in considered if not why_unavailable(state, r, now)]
        heapq.heapify(queue)
        jobs = _find_open_jobs(state, None, now) if queue and freed else []
        fresh_jobs = _find_open_jobs(state, fresh, now) if queue and fresh else []
        # A render that has got no task now gets none later in this round: ready tasks only decrease.
        while queue and state.ready:
            render = queue[0][1]
            # All other tasks have been refused by the rules since that render was freed.
            asked = jobs if render.name in freed else fresh_jobs
            if _assign_next(state, asked, render, now) and not why_unavailable(state, render, now):
                heapq.heapreplace(queue, (_rank(render), render))
            else:
                heapq.heappop(queue)
    for render in _existing(state, freed):
        # Not before the round: a render with one task after the other stays busy.
        if not render.running and render.states.presence is Presence.RUNNING:
            state.move_render(render, RenderEvent.NO_TASKS)
    wake_for_tasks(state, now)


def _existing(state: FarmState, names: set[str]) -> list[RenderState]:
    return [state.renders[name] for name in names if name in state.renders]


def _rank(render: RenderState) -> tuple[int, int, int, float, int, int, str]:
    """The order in which renders are served. No two are equal, because of their names."""
    effective = render.effective
    return (
        len(render.running),
        render.capacity_used - effective.capacity,
        -effective.priority,
        render.task_start_finish_time,
        -effective.capacity,
        -effective.max_tasks,
        render.name,
    )


@attrs.frozen(slots=True)
class _OpenJob:
    """A job with ready tasks, as it is at the begin of a round, and what its tasks need at least.

    With it a round passes over what is too large for a render, or of a service that the render does
    not have, at a small part of the price of all rules: 1000 renders may be asked about each block.
    """

    job: Job
    least: int
    """The smallest capacity of a task."""
    services: frozenset[str]
    blocks: tuple[tuple[int, Block], ...]
    """Blocks with ready tasks, each with the smallest capacity of a task."""
    rated: bool
    """Whether tasks started in this round may be the last ones of this second."""


def _find_open_jobs(state: FarmState, blocks: set[Block] | None, now: float) -> list[_OpenJob]:
    """The jobs with ready tasks of these blocks, None for all, in their order."""
    found: list[_OpenJob] = []
    for job in state.order:
        if not job.counts[TaskState.READY] or _rests(state, job, now):
            continue
        asked = tuple(
            (least_capacity(block.spec), block)
            for block in job.blocks
            if block.counts[TaskState.READY] and (blocks is None or block in blocks)
        )
        if asked:
            least = min(least for least, _ in asked)
            services = frozenset(block.spec.service for _, block in asked)
            limits = (job.spec.needs.max_tasks_per_second, job.user.needs.max_tasks_per_second)
            found.append(_OpenJob(job, least, services, asked, max(limits) > 0))
    return found


def _rests(state: FarmState, job: Job, now: float) -> bool:
    obstacle = why_job_rests(job, now)
    if obstacle is not None and obstacle.kind is ObstacleKind.MAX_PER_SECOND:
        state.throttle(job, now)
    return obstacle is not None


def _assign_next(state: FarmState, jobs: list[_OpenJob], render: RenderState, now: float) -> bool:
    """Assign a render its next task; False if there is none for it."""
    free = render.effective.capacity - render.capacity_used
    missing: set[str] = set()  # services
    for each in jobs:
        job = each.job
        if each.least > free or each.services <= missing or not job.counts[TaskState.READY]:
            continue
        if (each.rated and _rests(state, job, now)) or why_not_for_job(render, job):
            continue
        task = _next_task(state, render, each, missing, now)
        if task is not None:
            _hand_out(state, render, task, now)
            return True
    return False


def _next_task(
    state: FarmState, render: RenderState, open_job: _OpenJob, missing: set[str], now: float
) -> Task | None:
    """Take the next task of a job for a render: first those that users want to be tried next.

    Services that the render does not offer are added to `missing`.
    """
    job = open_job.job
    free = render.effective.capacity - render.capacity_used
    for task in job.try_next:
        if (
            task.state is TaskState.READY
            and not why_not_for_block(render, task.block)
            and not why_avoided_by_block(state, render, task.block, now)
            and not why_not_for_task(state, render, task, now)
        ):
            return task
    for least, block in open_job.blocks:
        if least > free or block.spec.service in missing or not block.counts[TaskState.READY]:
            continue
        if obstacle := why_not_for_block(render, block):
            if obstacle.kind is ObstacleKind.SERVICE:
                missing.add(block.spec.service)
            continue
        # After the cheap tests: this one may iterate over all renders.
        if obstacle := why_avoided_by_block(state, render, block, now):
            _retry(state, obstacle, now)
            continue
        task_of_block = _pop_task(state, render, block, now)
        if task_of_block is not None:
            return task_of_block
    return None


def _pop_task(state: FarmState, render: RenderState, block: Block, now: float) -> Task | None:
    """Take the first ready task of a block that need not avoid this render from the heap."""
    job = block.job
    limit = block.previews if job.spec.ppa else None
    avoided: list[tuple[int, int]] = []
    found: Task | None = None
    while block.ready and found is None:
        entry = heapq.heappop(block.ready)
        task = block.tasks[entry[1]]
        # Killed, resumed or assigned since: the heap keeps such entries (`Block.ready`).
        if task.state is not TaskState.READY:
            continue
        if limit is not None and entry[0] >= limit:
            avoided.append(entry)
            if not job.awaits_approval:
                job.awaits_approval = True
                state.mark_job(job)
                state.changes.note_job(job.id, "change")
            break
        if obstacle := why_not_for_task(state, render, task, now):
            _retry(state, obstacle, now)
            avoided.append(entry)
        else:
            found = task
    for entry in avoided:
        heapq.heappush(block.ready, entry)
    return found


def _retry(state: FarmState, obstacle: Obstacle, now: float) -> None:
    """Have a render that is avoided asked again when it is forgiven, or the only one left."""
    state.avoided = state.avoided or obstacle.kind in _AVOIDED
    if obstacle.need:
        state.retry_by(now + obstacle.need)


def _hand_out(state: FarmState, render: RenderState, task: Task, now: float) -> None:
    """Make a run of a task, and queue its exec message for the render."""
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
    state.add_run(run)
    # Views show the new attempt alone; the last one stays in the log.
    task.status = task.exit_code = task.finished = None
    task.percent = task.frame = task.percentframe = 0
    task.activity = task.report = task.resources = ""
    task.usage = None
    task.started = state.wall()
    if job.started is None:
        job.started = task.started
        job.node_log.add(job.started, f"afanasy: jobs: {job.spec.name}: Started.")
        state.mark_job(job)
    if task.marks & TaskBit.TRY:
        job.try_next.remove(task)
        state.mark_job(job)
    task.marks = 0
    job.awaits_approval = False
    job.starts = job.starts.add(now)
    job.user.starts = job.user.starts.add(now)
    state.attach(run, now)
    state.log(task, f'attempt {task.attempts}: handed to render "{render.name}", run {run.id}')
    render.outbox.tasks[run.id] = make_exec(run, coeff, task.started)
    state.log_run(run, "Starting")
    state.wake(render)


def make_exec(run: Run, coeff: int, started: float) -> TaskExec:
    """Build the exec message of a run. Its render already counts it: the figures include it.

    `coeff` is the capacity coefficient, `started` Unix time.
    """
    block, job = run.task.block, run.task.block.job
    spec = block.spec
    number = run.key.task
    own = _NO_TASK if spec.numeric else spec.tasks[number]
    start, finish, count = spec.frames(number)
    environment = spec.environment  # shared by all tasks of a block that add nothing to it
    if own.environment:
        environment = {**spec.environment, **own.environment}
    integers = {
        "render_capacity_total": run.render.effective.capacity,
        "render_capacity_used": run.render.capacity_used,
        "render_tasks_maximum": run.render.effective.max_tasks,
        "render_tasks_running": len(run.render.running),
    }
    if spec.parser_coeff != 1:
        integers["parser_koeff"] = spec.parser_coeff
    for name in ("file_size_min", "file_size_max"):
        size: int = getattr(spec, name)
        if size != -1:
            integers[name] = size
    strings = {} if spec.numeric else {"task_custom_data": own.custom_data}
    if spec.custom_data:
        strings["block_custom_data"] = spec.custom_data
    if job.spec.custom_data:
        strings["job_custom_data"] = job.spec.custom_data
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
        environment=environment,
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
        data_integers=integers,
        data_strings=strings,
        time_start=int(started),
    )
