"""What users change of jobs, their blocks and tasks: parameters and operations, by Afanasy's keys.

Each function checks everything first and raises `EditRefused` before anything has changed. What it
changes counts from then on: tasks that run keep the values that they were started with. Each change
is a line in the log of the job, with who asked for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import attrs

from trio_afrender.errors import EditRefused, JobError
from trio_afrender.farm.edit_values import check_keys, one_of, read_values, show_values
from trio_afrender.farm.job_parameters import (
    BLOCK_PARAMETERS,
    JOB_PARAMETERS,
    split_needs,
)
from trio_afrender.farm.model import Block, Job, Task, TaskState
from trio_afrender.farm.node_log import Actor, describe_action
from trio_afrender.farm.state import FarmState, time_limits
from trio_afrender.farm.task_bits import DEPENDENT, TaskBit
from trio_afrender.farm.transitions import (
    add_tasks,
    check_spec,
    compile_spec_masks,
    connect,
    find_before,
    hold,
    make_block,
    order_tasks,
    refresh,
    release_held,
    sort_jobs,
)
from trio_afrender.farm.user_requests import (
    changing_tasks,
    continue_task,
    count_as_done,
    delete_job,
    hold_back,
    pause_job,
    restart_task,
    return_task,
)
from trio_afrender.jobs.host_masks import HostMasks
from trio_afrender.jobs.job_file import MAX_TASKS, parse_blocks, parse_tasks
from trio_afrender.jobs.job_spec import JobSpec
from trio_afrender.jobs.message_size import check_sizes
from trio_afrender.text import show_json, suggest

__all__ = ("check_owner", "edit_blocks", "edit_job", "operate_blocks", "operate_job")

Reply = Mapping[str, object] | str
"""What an operation answers: an object of Afanasy's interface, or a sentence, which may be empty."""

_SUSPENDED = TaskBit.SUS.value
_RESTART: dict[str, Callable[[Task], bool]] = {
    "restart": lambda task: True,
    "restart_pause": lambda task: True,
    "restart_errors": lambda task: (
        task.state in (TaskState.ERROR, TaskState.KILLED) and not task.marks & DEPENDENT
    ),
    "restart_running": lambda task: task.state is TaskState.RUNNING,
    "restart_skipped": lambda task: task.state is TaskState.SKIPPED,
    "restart_done": lambda task: task.state is TaskState.DONE,
    "restart_warnings": lambda task: bool(task.marks & TaskBit.WRN),
}
"""Operation -> which tasks it restarts."""

_CHANGES: dict[str, Callable[[Task], bool]] = {
    **_RESTART,
    "suspend": lambda task: not task.state.over and not task.marks & _SUSPENDED,
    "continue": lambda task: bool(task.marks & _SUSPENDED),
    "skip": lambda task: task.state not in (TaskState.DONE, TaskState.SKIPPED),
    "done": lambda task: task.state not in (TaskState.DONE, TaskState.SKIPPED),
}
"""Operation -> which tasks get another state."""

_OF_JOB: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_RESTART, ()),
    "start": (),
    "pause": (),
    "stop": (),
    "delete": (),
    "reset_error_hosts": (),
    "reset_trying_next_tasks": (),
    "append_blocks": ("blocks",),
}
"""Operations on a whole job, and their fields."""

_OF_BLOCKS: dict[str, tuple[str, ...]] = {
    **{kind: ("task_ids",) for kind in _RESTART if kind != "restart_pause"},
    "skip": ("task_ids",),
    "done": ("task_ids",),
    "suspend": ("task_ids",),
    "continue": ("task_ids",),
    "reset_error_hosts": ("task_ids",),
    "trynext": ("task_ids", "mode"),
    "append_tasks": ("tasks",),
}
"""Operations on blocks, and their fields. Without ``task_ids`` they are for all tasks."""


def check_owner(actor: Actor, owner: str, what: str) -> None:
    """Raise `EditRefused` unless an actor may change what belongs to that user."""
    if not actor.admin and actor.user_name != owner:
        raise EditRefused(
            f'{what} belongs to the user "{owner}": "{actor.user_name}" may not change it'
        )


# Parameters


def edit_job(
    state: FarmState, job: Job, params: Mapping[str, object], actor: Actor, now: float
) -> None:
    """Set parameters of a job; its blocks keep theirs."""
    _check_open(job, actor)
    values = read_values(JOB_PARAMETERS, params, "a job")
    user = job.user
    if "user_name" in values:
        if not actor.admin:
            raise EditRefused("user_name: only an administrator gives a job to another user")
        user = state.users.get(values["user_name"], user)
        if user.name != values["user_name"]:
            near = suggest(values["user_name"], state.users)
            raise EditRefused(f"User does not exist: {values['user_name']}{near}")
    own, needs = split_needs(values)
    paused = own.pop("offline", None)
    if "folders" in own:
        own["folders"] = _merged(job.spec.folders, own["folders"])
    spec = attrs.evolve(job.spec, **own, needs=attrs.evolve(job.spec.needs, **needs))
    with _as_refusal():
        masks, block_masks = compile_spec_masks(spec)
        # The other parameters are in no message to a render.
        if {"custom_data", "user_name"} & values.keys():
            check_sizes(spec)
    _check_no_circle(state, job, spec)
    # Nothing below raises.
    if user is not job.user:
        old = job.user
        del old.jobs[job.id]
        user.jobs[job.id] = job
        running = job.counts[TaskState.RUNNING]
        old.running -= running
        user.running += running
        old.running_on.subtract(job.running_on)
        user.running_on.update(job.running_on)
        job.user = user
        state.note_user(old)
        # Those who see the jobs of one of the two users alone lose it or get it.
        state.changes.note_job(job.id, "del", old.name)
        state.changes.note_job(job.id, "add")
    _use_spec(state, job, spec, masks, block_masks)
    if paused is not None:
        pause_job(state, job, on=paused)
    if {"depend_mask", "depend_mask_global", "time_wait", "user_name"} & values.keys():
        hold(state, job, now)
        release_held(state, now)
    if not spec.ppa:
        job.awaits_approval = False
    sort_jobs(state)
    if state.life_over(job, now):
        state.check_by(now)  # the tick deletes it
    state.changes.note_job(job.id, "change")
    state.note_user(user)
    _log(state, job, actor, "params", show_values(params))


def edit_blocks(
    state: FarmState,
    job: Job,
    blocks: Sequence[int],
    params: Mapping[str, object],
    actor: Actor,
    now: float,
) -> None:
    """Set parameters of some blocks of a job; the job keeps its own."""
    _check_open(job, actor)
    chosen = _find_blocks(job, blocks)
    values = read_values(BLOCK_PARAMETERS, params, "a block")
    own, needs = split_needs(values)
    specs = list(job.spec.blocks)
    for number in chosen:
        old = specs[number]
        if "environment" in own:
            changed = {**own, "environment": _merged(old.environment, own["environment"])}
        else:
            changed = own
        specs[number] = attrs.evolve(old, **changed, needs=attrs.evolve(old.needs, **needs))
    with _as_refusal():
        checked = check_spec(attrs.evolve(job.spec, blocks=tuple(specs)))
    # Nothing below raises.
    _use_spec(state, job, checked.spec, checked.masks, checked.block_masks)
    # The time limits of the running tasks may be other ones now.
    for block in job.blocks:
        for task in block.tasks if block.counts[TaskState.RUNNING] else ():
            if task.run is not None:
                state.limited.pop(task.run.id, None)
                if time_limits(task.run):
                    state.limited[task.run.id] = task.run
                    state.check_by(now)
    for number in chosen:
        block = job.blocks[number]
        state.unstored.note_block(block, spec=True)
        state.changes.note_block(job.id, number, "full")
        if "sequential" in values:
            order_tasks(block)
            job.awaits_approval = False
        for task in block.tasks:
            task.view = None
    if {"name", "depend_mask", "tasks_depend_mask"} & values.keys():
        connect(job, checked.depends)
        refresh(state, job, now)
    names = ", ".join(f"Block['{job.spec.blocks[number].name}']" for number in chosen)
    _log(state, job, actor, "params", f"{names}:\n{show_values(params)}")


def _merged(old: Mapping[str, str], entries: Mapping[str, str | None]) -> dict[str, str]:
    merged: dict[str, str | None] = {**old, **entries}
    return {name: entry for name, entry in merged.items() if entry is not None}


@contextmanager
def _as_refusal() -> Iterator[None]:
    """Turn what is wrong with a specification into a refusal of the change that makes it so."""
    try:
        yield
    except JobError as error:
        raise EditRefused(str(error)) from None


def _check_no_circle(state: FarmState, job: Job, spec: JobSpec) -> None:
    """Raise `EditRefused` if a job would wait for one that waits for it."""
    with _as_refusal():
        ahead = find_before(state, job, spec)
    seen: dict[int, Job] = {}
    while ahead:
        other = ahead.pop()
        if other is job:
            names = " and ".join(f'"{each.spec.name}"' for each in seen.values())
            raise EditRefused(f'the jobs "{job.spec.name}" and {names} would wait for each other')
        if other.id not in seen:
            seen[other.id] = other
            ahead += other.before


def _use_spec(
    state: FarmState,
    job: Job,
    spec: JobSpec,
    masks: HostMasks,
    block_masks: Sequence[HostMasks],
) -> None:
    """Make a checked specification that of a job. It may have more blocks than the job has yet."""
    job.spec = spec
    job.masks = masks
    for number, block in enumerate(job.blocks):
        block.spec = spec.blocks[number]
        block.masks = block_masks[number]
        block.summary = None
    state.all_freed = True
    state.mark_job(job, spec=True)


# Operations


def operate_job(
    state: FarmState, job: Job, operation: Mapping[str, object], actor: Actor, now: float
) -> Reply:
    """Apply an operation to a whole job."""
    _check_open(job, actor)
    kind = _check_operation(operation, _OF_JOB, "a job")
    reason = f"{kind} by {actor}"
    tasks = [task for block in job.blocks for task in block.tasks]
    reply: Reply = ""
    if kind == "append_blocks":
        reply = _append_blocks(state, job, operation.get("blocks"), now)
    elif kind == "reset_error_hosts":
        for block in job.blocks:
            _forgive(state, block, block.tasks)
    elif kind == "reset_trying_next_tasks":
        _try_no_more(state, job, list(job.try_next))
    elif kind in _RESTART:
        _change_tasks(state, job, kind, tasks, reason, now)
    if kind in ("pause", "stop", "restart_pause", "start"):
        pause_job(state, job, on=kind != "start")
    if kind == "stop":
        for task in tasks:
            return_task(state, task, reason, now)
    _log(state, job, actor, kind, _describe(reply))
    # Last: the job may be gone afterwards.
    if kind == "delete":
        state.log_user(job.user, describe_action(actor, "jobs", kind, _full_name(job), ""))
        delete_job(state, job, reason, now)
    return reply


def operate_blocks(
    state: FarmState,
    job: Job,
    blocks: Sequence[int],
    operation: Mapping[str, object],
    actor: Actor,
    now: float,
) -> Reply:
    """Apply an operation to tasks of some blocks."""
    _check_open(job, actor)
    kind = _check_operation(operation, _OF_BLOCKS, "a block")
    chosen = [job.blocks[number] for number in _find_blocks(job, blocks)]
    tasks = _find_tasks(chosen, operation)
    reason = f"{kind} by {actor}"
    reply: Reply = ""
    if kind == "append_tasks":
        reply = _append_tasks(state, job, chosen, operation.get("tasks"), now)
    elif kind == "trynext":
        if one_of("append", "remove")("mode", operation.get("mode", "")) == "remove":
            _try_no_more(state, job, [task for task in tasks if task.marks & TaskBit.TRY])
        else:
            for task in tasks:
                if not task.state.over and not task.marks & TaskBit.TRY:
                    task.marks |= TaskBit.TRY.value
                    job.try_next.append(task)
                    state.touch(task)
            state.mark_job(job)
        reply = "Tasks to try next processed."
    elif kind == "reset_error_hosts":
        whole = "task_ids" not in operation
        for block in chosen:
            _forgive(state, block, tasks, whole=whole)
    else:
        _change_tasks(state, job, kind, tasks, reason, now)
    _log(state, job, actor, kind, _describe(reply))
    return reply


def _check_open(job: Job, actor: Actor) -> None:
    check_owner(actor, job.user.name, f'job {job.id} "{job.spec.name}"')
    if job.deleting:
        raise EditRefused(f'job {job.id} "{job.spec.name}" is being deleted')


def _check_operation(
    operation: Mapping[str, object], known: Mapping[str, tuple[str, ...]], what: str
) -> str:
    kind = operation.get("type")
    if not isinstance(kind, str) or kind not in known:
        near = suggest(kind, known) if isinstance(kind, str) else ""
        raise EditRefused(f"{what} has no operation {show_json(kind)}{near}")
    check_keys(("type", *known[kind]), operation, f"the operation {kind}")
    return kind


def _find_blocks(job: Job, blocks: Sequence[int]) -> list[int]:
    """The numbers, each once. Raises `EditRefused` for one that no block has, and without any."""
    for number in blocks:
        if not 0 <= number < len(job.blocks):
            raise EditRefused(
                f"Invalid block number: {number}; the job has {len(job.blocks)} blocks, from 0"
            )
    if not blocks:
        raise EditRefused("no block is selected")
    return list(dict.fromkeys(blocks))


def _find_tasks(blocks: Sequence[Block], operation: Mapping[str, object]) -> list[Task]:
    """The tasks of an operation, each once. Raises `EditRefused` for one that a block has not."""
    numbers = operation.get("task_ids")
    if numbers is None:
        return [task for block in blocks for task in block.tasks]
    if not isinstance(numbers, list | tuple) or not all(type(each) is int for each in numbers):
        raise EditRefused(f"task_ids: expected a list of integers, found {show_json(numbers)}")
    found = []
    for block in blocks:
        for number in dict.fromkeys(numbers):
            if not 0 <= number < len(block.tasks):
                raise EditRefused(
                    f'Invalid operation task number: {number}; block "{block.spec.name}" has '
                    f"{len(block.tasks)} tasks, from 0"
                )
            found.append(block.tasks[number])
    return found


def _change_tasks(
    state: FarmState, job: Job, kind: str, tasks: Sequence[Task], reason: str, now: float
) -> None:
    chosen = [task for task in tasks if _CHANGES[kind](task)]
    if not chosen:
        return
    with changing_tasks(state, job, now):
        for task in chosen:
            match kind:
                case "suspend":
                    hold_back(state, task, reason, now)
                case "continue":
                    continue_task(state, task, reason)
                case "skip" | "done":
                    count_as_done(state, task, reason, now, skip=kind == "skip")
                case _:
                    restart_task(state, task, reason, now)
    state.mark_job(job)


def _forgive(state: FarmState, block: Block, tasks: Sequence[Task], *, whole: bool = True) -> None:
    """Forget on which hosts tasks of a block had errors."""
    if whole:
        block.error_hosts.clear()
        state.unstored.note_block(block)
    for task in tasks:
        if task.error_hosts is not None and task.block is block:
            task.error_hosts = None
            state.touch(task)
    state.all_freed = True
    state.changes.note_block(block.job.id, block.number, "progress")


def _try_no_more(state: FarmState, job: Job, tasks: Sequence[Task]) -> None:
    for task in tasks:
        task.marks &= ~TaskBit.TRY.value
        state.touch(task)
    job.try_next = [task for task in job.try_next if task.marks & TaskBit.TRY]
    state.mark_job(job)


def _append_blocks(state: FarmState, job: Job, data: object, now: float) -> Reply:
    first = len(job.blocks)
    with _as_refusal():
        added = parse_blocks(data, hosts_mask_type=job.spec.hosts_mask_type)
        if not added:
            raise EditRefused("blocks: empty: there is nothing to append")
        spec = attrs.evolve(job.spec, blocks=(*job.spec.blocks, *added))
        _check_count(spec)
        checked = check_spec(spec)
    with changing_tasks(state, job, now):
        job.ending = ""
        _use_spec(state, job, spec, checked.masks, checked.block_masks)
        for number in range(first, len(spec.blocks)):
            block = make_block(job, spec.blocks[number], checked.block_masks[number])
            _note_added(state, block, 0)
        connect(job, checked.depends)
    return {"block_ids": list(range(first, len(spec.blocks)))}


def _append_tasks(
    state: FarmState, job: Job, blocks: Sequence[Block], data: object, now: float
) -> Reply:
    with _as_refusal():
        added = parse_tasks(data)
        if not added:
            raise EditRefused("tasks: empty: there is nothing to append")
        specs = list(job.spec.blocks)
        for block in blocks:
            if block.spec.numeric:
                raise EditRefused("Appending tasks to numeric block is not allowed.")
            specs[block.number] = attrs.evolve(block.spec, tasks=(*block.spec.tasks, *added))
        spec = attrs.evolve(job.spec, blocks=tuple(specs))
        _check_count(spec)
        checked = check_spec(spec)
    task_ids: list[int] = []
    with changing_tasks(state, job, now):
        job.ending = ""
        _use_spec(state, job, spec, checked.masks, checked.block_masks)
        for block in blocks:
            first = len(block.tasks)
            add_tasks(block)
            _note_added(state, block, first)
            task_ids = list(range(first, len(block.tasks)))
        connect(job, checked.depends)
    return {"task_ids": task_ids}


def _check_count(spec: JobSpec) -> None:
    total = sum(block.task_count for block in spec.blocks)
    if total > MAX_TASKS:
        raise EditRefused(f"{total:,} tasks, more than {MAX_TASKS:,}")


def _note_added(state: FarmState, block: Block, first: int) -> None:
    state.unstored.note_block(block, spec=True)
    state.changes.note_block(block.job.id, block.number, "full")
    for task in block.tasks[first:]:
        state.touch(task)


def _describe(reply: Reply) -> str:
    if isinstance(reply, str):
        return reply
    return " ".join(f"{key}: {show_json(value)}" for key, value in reply.items())


def _full_name(job: Job) -> str:
    return f"{job.spec.name}@{job.user.name}"


def _log(state: FarmState, job: Job, actor: Actor, what: str, info: str) -> None:
    """Write an action to the log of the job, and to that of its user if there are details."""
    line = describe_action(actor, "jobs", what, _full_name(job), info)
    state.log_job(job, line)
    if info:
        state.log_user(job.user, line)
