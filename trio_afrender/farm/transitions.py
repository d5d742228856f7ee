"""State changes of jobs and tasks, from submission to the final state, and what each releases.

A task is WAITING until its job, its block and its group of frames wait for nothing more, then
READY, then RUNNING, then in a final state or READY again. A block waits for whole blocks, a group
for groups of other blocks with the same frames; both count what they still wait for.
"""

from __future__ import annotations

import re
from bisect import insort

from trio_afrender.errors import JobError
from trio_afrender.farm.model import Block, FarmStopKind, Group, Job, Run, Task, TaskState
from trio_afrender.farm.state import FarmState, Removal
from trio_afrender.farm.task_order import rank_tasks
from trio_afrender.jobs.host_masks import compile_masks
from trio_afrender.jobs.job_dependencies import (
    FrameGroups,
    find_dependencies,
    make_groups,
    overlaps,
)
from trio_afrender.jobs.job_spec import JobSpec
from trio_afrender.jobs.message_size import check_sizes
from trio_afrender.protocol.messages import TaskKey

__all__ = (
    "end_unstarted",
    "finish",
    "forget",
    "put_back",
    "release_held",
    "requeue",
    "resume_lost_run",
    "settle",
    "submit",
)


def submit(state: FarmState, spec: JobSpec, now: float) -> Job:
    """Add a job. Raises `JobError` for blocks that wait for each other, for a mask that is not a
    regular expression and for a task that is too large for a message."""
    check_sizes(spec)
    depends = find_dependencies(spec)
    masks = compile_masks(spec.needs, spec.hosts_mask_type)
    block_masks = [
        compile_masks(block.needs, spec.hosts_mask_type, f"blocks[{i}].")
        for i, block in enumerate(spec.blocks)
    ]
    # `depend_mask` is about jobs of the same user, `depend_mask_global` about those of all users.
    own = _compile_mask(spec.depend_mask, "depend_mask")
    every = _compile_mask(spec.depend_mask_global, "depend_mask_global")
    # The state changes from here on: nothing below raises.
    job = Job(id=state.next_job, user=state.make_user(spec.user_name), spec=spec, masks=masks)
    for number, block_spec in enumerate(spec.blocks):
        ranks = rank_tasks(block_spec)
        block = Block(job=job, spec=block_spec, masks=block_masks[number], ranks=ranks)
        keys = (TaskKey(job.id, number, task) for task in range(block_spec.task_count))
        block.tasks = [Task(key=key, block=block) for key in keys]
        block.counts[TaskState.WAITING] = len(block.tasks)
        job.counts[TaskState.WAITING] += len(block.tasks)
        job.blocks.append(block)
    _connect(job, depends.blocks, depends.tasks)
    job.before = [
        other
        for other in state.order
        if (own and other.spec.user_name == spec.user_name and own.fullmatch(other.spec.name))
        or (every and every.fullmatch(other.spec.name))
    ]
    if spec.time_wait > state.wall():
        job.held_until = now + spec.time_wait - state.wall()
        state.check_by(job.held_until)
    state.next_job += 1
    state.jobs[job.id] = job
    insort(state.order, job, key=lambda other: (-other.spec.priority, other.id))
    state.changes.note_job(job.id, "add")
    state.outgoing.changed = True
    release_held(state, now)
    return job


def _compile_mask(text: str, path: str) -> re.Pattern[str] | None:
    """Return the mask of the key at `path`, None for an empty one. Raises `JobError`."""
    try:
        return re.compile(text) if text else None
    except (re.error, RecursionError, OverflowError) as error:
        raise JobError(path, f"not a regular expression: {error}") from None


def _connect(
    job: Job, blocks: tuple[tuple[int, ...], ...], tasks: tuple[tuple[int, ...], ...]
) -> None:
    """Link blocks, and groups of tasks, to those that wait for them."""
    for number, block in enumerate(job.blocks):
        block.depends = tuple(sorted({*blocks[number], *tasks[number]}))
        block.waits = len(blocks[number])
        for other in blocks[number]:
            job.blocks[other].unlocks.append(block)
    # Most jobs have no dependencies between tasks, so only the blocks on either end of one get
    # groups.
    ranges: dict[int, FrameGroups] = {}
    groups: dict[int, list[Group]] = {}
    for number in sorted({*(i for i, others in enumerate(tasks) if others), *sum(tasks, ())}):
        ranges[number] = make_groups(job.blocks[number].spec)
        all_tasks = job.blocks[number].tasks
        groups[number] = [
            Group([all_tasks[i] for i in members], len(members)) for members in ranges[number].tasks
        ]
        for group in groups[number]:
            for task in group.tasks:
                task.group = group
    for number, others in enumerate(tasks):
        spec = job.blocks[number].spec
        for other in others:
            spans = overlaps(spec, ranges[number], job.blocks[other].spec, ranges[other])
            for group, span in zip(groups[number], spans, strict=True):
                group.waits += len(span)
                for i in span:
                    groups[other][i].unlocks.append(group)


def release_held(state: FarmState, now: float) -> None:
    """Start the held jobs that wait neither for a time nor for other jobs any more.

    A job that waits for one which did not finish is ended.
    """
    for job in [job for job in state.order if job.held]:
        if job.held_until is not None and now < job.held_until:
            state.check_by(job.held_until)
            continue
        failed = [other for other in job.before if other.state in ("error", "stopped")]
        if failed:
            end_unstarted(state, job, "rule", f'job "{failed[0].spec.name}" did not finish')
        elif all(other.state == "done" for other in job.before):
            job.held = False
            for block in job.blocks:
                _release_block(state, block)
            # An empty block is done from the start, and no `finish` of a task says so.
            for block in job.blocks:
                if not block.tasks:
                    _release_dependent_blocks(state, block)
        settle(state, job, now)


def _release_block(state: FarmState, block: Block) -> None:
    if block.waits == 0 and not block.job.held:
        _make_ready(state, block.tasks)


def _make_ready(state: FarmState, tasks: list[Task]) -> None:
    for task in tasks:
        if task.state is TaskState.WAITING and (task.group is None or task.group.waits == 0):
            state.set_state(task, TaskState.READY)


def _release_dependent_blocks(state: FarmState, block: Block) -> None:
    for other in block.unlocks:
        other.waits -= 1
        _release_block(state, other)


def finish(state: FarmState, task: Task, final: TaskState, now: float) -> None:
    """Move a task to a final state; tasks that waited for it become ready."""
    state.set_state(task, final)
    block, group = task.block, task.group
    # An error or a kill releases nothing: `settle` kills what waits for the task.
    if final in (TaskState.DONE, TaskState.SKIPPED):
        if group is not None:
            group.remaining -= 1
            if group.remaining == 0:
                for other in group.unlocks:
                    other.waits -= 1
                    # Its block may wait for whole blocks as well.
                    if other.waits == 0 and other.tasks[0].block.waits == 0:
                        _make_ready(state, other.tasks)
        if block.done:
            _release_dependent_blocks(state, block)
    settle(state, block.job, now)


def requeue(state: FarmState, run: Run, event: str, text: str, now: float) -> None:
    """Take a task back from its render without an error and queue it. The run counts as lost."""
    task = run.task
    state.detach(run)
    run.lost = True
    state.why(task, event, text)
    put_back(state, run, now)


def put_back(state: FarmState, run: Run, now: float) -> None:
    """Queue the task of a run that has ended, unless a user stopped it or its job is ending."""
    task = run.task
    if run.stop is not None and run.stop.kind is FarmStopKind.ASKED:
        finish(state, task, TaskState.KILLED, now)
    elif task.block.job.ending:
        state.why(task, "rule", f"not started again: {task.block.job.ending}")
        finish(state, task, TaskState.KILLED, now)
    else:
        state.set_state(task, TaskState.READY)


def resume_lost_run(state: FarmState, run: Run, now: float) -> bool:
    """Make a lost run current again; False if its task has ended or runs elsewhere."""
    task = run.task
    if task.state is not TaskState.READY:
        return False
    state.why(task, "resumed", f'render "{run.render.name}" is back with it')
    state.attach(run, now)
    return True


def end_unstarted(state: FarmState, job: Job, event: str, text: str) -> None:
    """Kill the tasks of a job that are not running. The caller calls `settle` afterwards."""
    for block in job.blocks:
        for task in block.tasks:
            if task.state in (TaskState.WAITING, TaskState.READY):
                state.why(task, event, f"not started: {text}")
                state.set_state(task, TaskState.KILLED)


def settle(state: FarmState, job: Job, now: float) -> None:
    """End a job without ready and running tasks. Tasks that wait for failed ones are killed."""
    counts = job.counts
    if job.over or counts[TaskState.READY] or counts[TaskState.RUNNING]:
        return
    if counts[TaskState.WAITING]:
        if job.held:
            return
        # Nothing runs or is ready, so what waits in these blocks waits for a task that failed.
        for block in (block for block in job.blocks if block.counts[TaskState.WAITING]):
            names = [job.blocks[i].spec.name for i in block.depends if not job.blocks[i].done]
            text = " and ".join(f'"{name}"' for name in names)
            text = f"not started: it waits for {text}, which did not finish"
            for task in block.tasks:
                if task.state is TaskState.WAITING:
                    state.why(task, "rule", text)
                    state.set_state(task, TaskState.KILLED)
    if counts[TaskState.ERROR] and not job.ending:
        job.state = "error"
    elif counts[TaskState.ERROR] or counts[TaskState.KILLED]:
        job.state = "stopped"
    else:
        job.state = "done"
    job.finished = state.wall()
    job.view = None
    state.order.remove(job)
    state.outgoing.changed = True
    state.changes.note_job(job.id, "change")
    # Other jobs may wait for the end of this one.
    release_held(state, now)


def forget(state: FarmState, job: Job) -> None:
    """Drop a job that is over, its runs and its texts. Raises `JobError` for one that is not.

    Later messages about its runs are answered like those about any unknown run.
    """
    if not job.over:
        raise JobError("", f'job {job.id} "{job.spec.name}" is {job.state}: stop it first')
    del state.jobs[job.id]
    for run in [run for run in state.runs.values() if run.task.block.job is job]:
        del state.runs[run.id]
    state.outgoing.writes.append(Removal(TaskKey(job.id, 0, 0)))
    state.outgoing.changed = True
    state.changes.note_job(job.id, "del", job.spec.user_name)
