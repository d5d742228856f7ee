"""State changes of jobs and tasks, from submission to the final state, and what each releases.

A task is WAITING until its job, its block and its group of frames wait for nothing more, then
READY, then RUNNING, then in a final state or READY again. A block waits for whole blocks, a group
for groups of other blocks with the same frames; both count what they still wait for. What users
change can make each of these states another one: `reopen` and `refresh` then count anew.
"""

from __future__ import annotations

import re
from bisect import insort
from collections.abc import Sequence

import attrs

from trio_afrender.errors import JobError
from trio_afrender.farm.model import Block, FarmStopKind, Group, Job, Run, Task, TaskState, User
from trio_afrender.farm.state import FarmState, Removal
from trio_afrender.farm.task_bits import DEPENDENT, OUTCOME_MARKS, TaskBit
from trio_afrender.farm.task_order import count_previews, rank_tasks
from trio_afrender.jobs.host_masks import HostMasks, compile_masks
from trio_afrender.jobs.job_dependencies import (
    Dependencies,
    FrameGroups,
    find_dependencies,
    make_groups,
    overlaps,
)
from trio_afrender.jobs.job_spec import BlockSpec, JobSpec
from trio_afrender.jobs.message_size import check_sizes
from trio_afrender.protocol.messages import TaskKey
from trio_afrender.text import compile_mask

__all__ = (
    "CheckedSpec",
    "add_job",
    "add_tasks",
    "check_spec",
    "compile_spec_masks",
    "connect",
    "end_unstarted",
    "find_before",
    "finish",
    "forget",
    "hold",
    "hold_until",
    "make_block",
    "make_job",
    "order_key",
    "order_tasks",
    "put_back",
    "queue_again",
    "refresh",
    "release_held",
    "reopen",
    "requeue",
    "resume_lost_run",
    "settle",
    "sort_jobs",
    "submit",
)

_SUSPENDED = TaskBit.SUS.value


@attrs.frozen(slots=True)
class CheckedSpec:
    """A specification and what its checks have found."""

    spec: JobSpec
    masks: HostMasks
    block_masks: tuple[HostMasks, ...]
    depends: Dependencies


def submit(state: FarmState, spec: JobSpec, now: float) -> Job:
    """Add a job. Raises `JobError` for blocks that wait for each other, for a mask that is not a
    regular expression and for a task that is too large for a message."""
    checked = check_spec(spec)
    # The state changes from here on: nothing below raises.
    user = state.make_user(spec.user_name)
    user.time_activity = state.wall()
    user.host_name = spec.host_name or user.host_name
    job = make_job(state.next_job, user, checked)
    state.next_job += 1
    job.created = state.wall()
    job.paused = spec.offline
    add_job(state, job)
    state.log_job(job, f"afanasy: jobs: {spec.name}: Initialized.")
    state.log_user(user, f"afanasy: users: {user.name}: Adding a job: {spec.name}")
    state.changes.note_job(job.id, "add")
    hold(state, job, now)
    release_held(state, now)
    return job


def check_spec(spec: JobSpec) -> CheckedSpec:
    """Compile and check what a job specification says. Raises `JobError`; changes nothing."""
    check_sizes(spec)
    depends = find_dependencies(spec)
    for key in ("depend_mask", "depend_mask_global"):
        _compile_mask(getattr(spec, key), key)
    return CheckedSpec(spec, *compile_spec_masks(spec), depends)


def compile_spec_masks(spec: JobSpec) -> tuple[HostMasks, tuple[HostMasks, ...]]:
    """The masks for hosts of a job and of each of its blocks. Raises `JobError`."""
    language = spec.hosts_mask_type
    blocks = enumerate(spec.blocks)
    return (
        compile_masks(spec.needs, language),
        tuple(compile_masks(block.needs, language, f"blocks[{i}].") for i, block in blocks),
    )


def _compile_mask(text: str, path: str) -> re.Pattern[str] | None:
    """Return the mask of the key at `path`, None for an empty one. Raises `JobError`."""
    try:
        return compile_mask(text) if text else None
    except (re.error, RecursionError, OverflowError) as error:
        raise JobError(path, f"not a regular expression: {error}") from None


def make_job(number: int, user: User, checked: CheckedSpec) -> Job:
    """Make the records of a job whose tasks all wait. The farm does not know it yet."""
    spec = checked.spec
    job = Job(id=number, user=user, spec=spec, masks=checked.masks, position=number)
    for block_spec, masks in zip(spec.blocks, checked.block_masks, strict=True):
        make_block(job, block_spec, masks)
    connect(job, checked.depends)
    return job


def make_block(job: Job, spec: BlockSpec, masks: HostMasks) -> Block:
    """Add a block at the end of a job. Its tasks wait until the caller has called `refresh`."""
    block = Block(job=job, number=len(job.blocks), spec=spec, masks=masks)
    job.blocks.append(block)
    add_tasks(block)
    return block


def add_tasks(block: Block) -> None:
    """Give a block the tasks of its specification that it does not have yet."""
    job = block.job
    fresh = range(len(block.tasks), block.spec.task_count)
    block.tasks += [Task(key=TaskKey(job.id, block.number, i), block=block) for i in fresh]
    block.counts[TaskState.WAITING] += len(fresh)
    job.counts[TaskState.WAITING] += len(fresh)
    block.summary = None
    order_tasks(block)


def order_tasks(block: Block) -> None:
    """Rank the tasks of a block by its ``sequential``, the ready ones too."""
    block.ranks = rank_tasks(block.spec)
    block.previews = count_previews(block.spec)
    ranks = block.ranks
    numbers = sorted({number for _, number in block.ready})
    block.ready = sorted((number if ranks is None else ranks[number], number) for number in numbers)


def add_job(state: FarmState, job: Job) -> None:
    """Make a job known to the farm, and to its user."""
    state.jobs[job.id] = job
    job.user.jobs[job.id] = job
    if not job.over:
        insort(state.order, job, key=order_key)
    state.outgoing.changed = True
    state.mark_job(job, spec=True)
    for block in job.blocks:
        state.unstored.note_block(block, spec=True)


def order_key(job: Job) -> tuple[int, int, float, int]:
    """Jobs are served by priority of their user, their own, and then as they were submitted."""
    return (-job.user.priority, -job.spec.priority, job.position, job.id)


def sort_jobs(state: FarmState) -> None:
    """Put the jobs in order after a change of a priority or a position."""
    state.order.sort(key=order_key)
    state.all_freed = True


def connect(job: Job, depends: Dependencies) -> None:
    """Link blocks, and groups of tasks, to those that wait for them.

    What they wait for is counted as if no task were done: the caller calls `refresh` if one is.
    """
    for number, block in enumerate(job.blocks):
        block.waits_for = depends.blocks[number]
        block.depends = tuple(sorted({*depends.blocks[number], *depends.tasks[number]}))
        block.waits = len(block.waits_for)
        block.unlocks = []
    for block in job.blocks:
        for other in block.waits_for:
            job.blocks[other].unlocks.append(block)
    _connect_groups(job, depends.tasks)


def _connect_groups(job: Job, depends: tuple[tuple[int, ...], ...]) -> None:
    # Most jobs have no dependencies between tasks, so only the blocks on either end of one get
    # groups.
    either_end = {*(i for i, others in enumerate(depends) if others), *sum(depends, ())}
    ranges: dict[int, FrameGroups] = {}
    for number, block in enumerate(job.blocks):
        block.groups = []
        for task in block.tasks:
            task.group = None
        if number in either_end:
            ranges[number] = make_groups(block.spec)
            for members in ranges[number].tasks:
                block.groups.append(Group([block.tasks[i] for i in members], len(members)))
        for group in block.groups:
            for task in group.tasks:
                task.group = group
    for number, others in enumerate(depends):
        block = job.blocks[number]
        for other in others:
            unlocking = job.blocks[other]
            spans = overlaps(block.spec, ranges[number], unlocking.spec, ranges[other])
            for group, span in zip(block.groups, spans, strict=True):
                group.waits += len(span)
                for i in span:
                    unlocking.groups[i].unlocks.append(group)


# What a job waits for as a whole


def find_before(state: FarmState, job: Job, spec: JobSpec) -> list[Job]:
    """The jobs that have to be done before a job with that specification starts.

    `depend_mask` is about jobs of the same user, `depend_mask_global` about those of all users.
    A job that has failed is waited for as well: it can be restarted. Raises `JobError`.
    """
    own = _compile_mask(spec.depend_mask, "depend_mask")
    every = _compile_mask(spec.depend_mask_global, "depend_mask_global")
    if own is None and every is None:
        return []
    return [
        other
        for other in state.jobs.values()
        if other is not job
        and other.state != "done"
        and (
            (own and other.spec.user_name == spec.user_name and own.fullmatch(other.spec.name))
            or (every and every.fullmatch(other.spec.name))
        )
    ]


def hold(state: FarmState, job: Job, now: float) -> None:
    """Find what a job waits for as a whole. The caller calls `release_held` afterwards."""
    job.before = find_before(state, job, job.spec)
    hold_until(state, job, now)
    if not job.held and (job.before or job.held_until is not None):
        job.held = True
        refresh(state, job, now)
    state.mark_job(job)
    state.life_over(job, now)


def hold_until(state: FarmState, job: Job, now: float) -> None:
    """Note when the time comes that a job waits for, on the farm's own clock."""
    wait = job.spec.time_wait - state.wall()
    job.held_until = now + wait if wait > 0 else None
    if job.held_until is not None:
        state.check_by(job.held_until)


def release_held(state: FarmState, now: float) -> None:
    """Start the held jobs that wait neither for a time nor for other jobs any more."""
    for job in [job for job in state.order if job.held]:
        if job.over:
            continue  # it has ended with one that was released before it
        if job.held_until is not None and now < job.held_until:
            state.check_by(job.held_until)
            continue
        job.held_until = None
        if all(other.state == "done" for other in job.before):
            job.before = []
            job.held = False
            state.mark_job(job)
            refresh(state, job, now)
        else:
            settle(state, job, now)


# Tasks


def queue_again(state: FarmState, task: Task) -> None:
    """Give a task that does not run the state that follows from what it waits for."""
    block = task.block
    waits = (
        block.job.held
        or block.waits
        or (task.group is not None and task.group.waits)
        or task.marks & _SUSPENDED
    )
    state.set_state(task, TaskState.WAITING if waits else TaskState.READY)


def refresh(state: FarmState, job: Job, now: float) -> None:
    """Count anew what blocks and groups wait for, and queue or hold back their tasks accordingly.

    Tasks that run keep running. Costs a pass over all tasks of the job.
    """
    for block in job.blocks:
        block.waits = sum(not job.blocks[other].done for other in block.waits_for)
        for group in block.groups:
            group.waits = 0
            group.remaining = sum(
                task.state not in (TaskState.DONE, TaskState.SKIPPED) for task in group.tasks
            )
    for block in job.blocks:
        for group in block.groups:
            if group.remaining:
                for other in group.unlocks:
                    other.waits += 1
    for block in job.blocks:
        _note_waits(state, block)
        if len(block.ready) > 2 * len(block.tasks):
            order_tasks(block)  # entries of tasks that were ready several times
        if block.counts[TaskState.WAITING] or block.counts[TaskState.READY]:
            for task in block.tasks:
                if task.state is TaskState.WAITING or task.state is TaskState.READY:
                    queue_again(state, task)
    job.view = None
    settle(state, job, now)


def reopen(state: FarmState, job: Job) -> None:
    """Make a job that is over one that is not, because some of its tasks get other states.

    Tasks that were killed because what they waited for failed wait for it again. The caller gives
    the other tasks their states, and calls `refresh`.
    """
    if not job.over:
        return
    job.state = "running"
    job.finished = None
    job.ending = ""
    insort(state.order, job, key=order_key)
    for block in job.blocks:
        for task in block.tasks:
            if task.marks & DEPENDENT:
                task.marks &= ~OUTCOME_MARKS
                state.set_state(task, TaskState.WAITING)
    state.mark_job(job)
    state.changes.note_job(job.id, "change")


def finish(state: FarmState, task: Task, final: TaskState, now: float) -> None:
    """Move a task to a final state; tasks that waited for it become ready."""
    released = final in (TaskState.DONE, TaskState.SKIPPED)
    before = task.state in (TaskState.DONE, TaskState.SKIPPED)
    state.set_state(task, final)
    block, group = task.block, task.group
    # An error or a kill releases nothing: `settle` kills what waits for the task.
    if released and not before:
        if group is not None:
            group.remaining -= 1
            if group.remaining == 0:
                for other in group.unlocks:
                    other.waits -= 1
                    if other.waits == 0:
                        _queue_waiting(state, other.tasks)
        if block.done:
            for dependent in block.unlocks:
                dependent.waits -= 1
                if dependent.waits == 0:
                    _queue_waiting(state, dependent.tasks)
                    _note_waits(state, dependent)
    settle(state, block.job, now)


def _note_waits(state: FarmState, block: Block) -> None:
    """Note that a block waits for something else now: so its tasks look different in Afanasy's bits,
    also those that stay as they are."""
    block.summary = None
    state.changes.note_block(block.job.id, block.number, "progress")


def _queue_waiting(state: FarmState, tasks: Sequence[Task]) -> None:
    for task in tasks:
        if task.state is TaskState.WAITING:
            queue_again(state, task)


def requeue(state: FarmState, run: Run, event: str, text: str, now: float) -> None:
    """Take a task back from its render without an error and queue it. The run counts as lost."""
    task = run.task
    state.detach(run)
    run.lost = True
    state.why(task, event, text)
    put_back(state, run, now)


def put_back(state: FarmState, run: Run, now: float) -> None:
    """Queue the task of a run that has ended, unless a user wants something else of it."""
    task, kind = run.task, run.stop.kind if run.stop is not None else None
    if kind is FarmStopKind.ASKED:
        finish(state, task, TaskState.KILLED, now)
    elif kind is FarmStopKind.SKIP:
        finish(state, task, TaskState.SKIPPED, now)
    elif kind is FarmStopKind.DONE:
        finish(state, task, TaskState.DONE, now)
    elif task.block.job.ending:
        state.why(task, "rule", f"not started again: {task.block.job.ending}")
        finish(state, task, TaskState.KILLED, now)
    else:
        queue_again(state, task)
        # A suspended task keeps its job from being over, but no other task may be left.
        settle(state, task.block.job, now)


def resume_lost_run(state: FarmState, run: Run, now: float) -> bool:
    """Make a lost run current again; False if its task has ended, waits, runs elsewhere or is to be
    started anew."""
    task = run.task
    restarted = run.stop is not None and run.stop.kind is FarmStopKind.RESTART
    if task.state is not TaskState.READY or restarted:
        return False
    state.why(task, "resumed", f'render "{run.render.name}" is back with it')
    state.attach(run, now)
    state.log_run(run, "Resumed")
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
        if job.held or any(
            task.marks & _SUSPENDED and task.state is TaskState.WAITING
            for block in job.blocks
            if block.counts[TaskState.WAITING]
            for task in block.tasks
        ):
            return
        # Nothing runs or is ready, so what waits in these blocks waits for a task that failed.
        for block in (block for block in job.blocks if block.counts[TaskState.WAITING]):
            names = [job.blocks[i].spec.name for i in block.depends if not job.blocks[i].done]
            text = " and ".join(f'"{name}"' for name in names)
            text = f"not started: it waits for {text}, which did not finish"
            for task in block.tasks:
                if task.state is TaskState.WAITING:
                    state.why(task, "rule", text)
                    task.marks |= DEPENDENT
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
    state.mark_job(job)
    state.changes.note_job(job.id, "change")
    if job.deleting:
        forget(state, job, now)
        return
    if job.state == "done":
        state.log_job(job, f"afanasy: jobs: {job.spec.name}: Done.")
    # Other jobs may wait for the end of this one.
    release_held(state, now)


def forget(state: FarmState, job: Job, now: float) -> None:
    """Drop a job that is over, its runs and its texts. Raises `JobError` for one that is not.

    Later messages about its runs are answered like those about any unknown run.
    """
    if not job.over:
        raise JobError("", f'job {job.id} "{job.spec.name}" is {job.state}: stop it first')
    del state.jobs[job.id]
    del job.user.jobs[job.id]
    job.gone = True
    state.unstored.drop_job(job)
    for run in job.run_ids:
        del state.runs[run]
    # A job that waits for this one waits no more; one that is over may be restarted.
    for other in state.jobs.values():
        if job in other.before:
            other.before.remove(job)
            state.mark_job(other)
    state.outgoing.writes.append(Removal(TaskKey(job.id, 0, 0)))
    state.outgoing.changed = True
    state.note_user(job.user)
    state.changes.note_job(job.id, "del", job.user.name)
    release_held(state, now)
