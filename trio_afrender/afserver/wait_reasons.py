"""Why tasks of a job do not start, from what a server shows of the job and its renders. No I/O.

The embedded farm answers that itself, by the rules of its own scheduler (`read_wait_answers`). An
afserver has no such request, so its rules are applied here to its lists (`explain_waiting`), and
what it does not show, such as free licences of a pool, is not considered.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

import attrs

from trio_afrender.afserver.remote_nodes import (
    BlockNode,
    JobNode,
    PoolNode,
    RenderNode,
    TaskNode,
    UserNode,
    flag_of,
    integer_of,
    objects_of,
    text_of,
    texts_of,
)
from trio_afrender.jobs.host_masks import compile_name_mask, compile_text_mask
from trio_afrender.text import compile_mask, count_text, name_renders, quote_some

__all__ = ("FarmNodes", "WaitReasons", "explain_stuck", "explain_waiting", "read_wait_answers")

_AVOIDED = "- ! AVOIDING !"
_NEXT = "it comes next"
_NO_MASK = (re.error, RecursionError, OverflowError)
"""What a text that is no regular expression raises."""


@attrs.frozen(slots=True, kw_only=True)
class WaitReasons:
    """What the waiting tasks of one block wait for."""

    block: int
    block_name: str
    task: int
    """The first of them."""
    tasks: int
    reasons: tuple[str, ...] = ()
    """What is in the way whatever the render. If there is any, `renders` is empty."""
    renders: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    """Render -> what is in the way there; nothing: the task comes next."""

    @property
    def sentences(self) -> tuple[str, ...]:
        """The same for people. Renders with the same reasons share a sentence."""
        if self.reasons:
            return self.reasons
        names: dict[str, list[str]] = {}
        for name, reasons in self.renders.items():
            names.setdefault("; ".join(reasons) or _NEXT, []).append(name)
        return tuple(f"{name_renders(found)}: {text}" for text, found in names.items())


def explain_stuck(job: JobNode, answered: Container[int]) -> list[WaitReasons]:
    """Explain blocks that wait for blocks whose tasks have failed: nothing happens without a user.

    The embedded farm counts such tasks as over and answers nothing about them.
    """
    return [
        WaitReasons(
            block=block.number,
            block_name=block.name,
            task=0,
            tasks=block.tasks - block.done,
            reasons=(f"it waits for {_blocks_before(job, block) or 'other blocks'}",),
        )
        for block in job.blocks
        if block.number not in answered and "WDP" in block.states
    ]


def read_wait_answers(answer: Mapping[str, Any]) -> list[WaitReasons]:
    """Read the embedded farm's own answer."""
    found = []
    for each in objects_of(answer, "blocks"):
        renders = {
            text_of(render, "render"): texts_of(render, "reasons")
            for render in objects_of(each, "renders")
        }
        found.append(
            WaitReasons(
                block=integer_of(each, "block"),
                block_name=text_of(each, "block_name"),
                task=integer_of(each, "task"),
                tasks=integer_of(each, "tasks", 1),
                reasons=texts_of(each, "reasons"),
                renders=renders,
            )
        )
    return found


@attrs.frozen(slots=True, kw_only=True)
class FarmNodes:
    """What a server shows of the farm around a job. `loads`: render id -> its ``host_resources``."""

    jobs: Sequence[JobNode] = ()
    renders: Sequence[RenderNode] = ()
    pools: Mapping[str, PoolNode] = attrs.field(factory=dict)
    users: Mapping[str, UserNode] = attrs.field(factory=dict)
    loads: Mapping[int, Mapping[str, Any]] = attrs.field(factory=dict)
    error_hosts: Sequence[str] = ()
    """The lines of the job's list of renders with errors."""
    now: float = attrs.field(factory=time.time)
    """Unix time."""


def explain_waiting(job: JobNode, tasks: Sequence[TaskNode], farm: FarmNodes) -> list[WaitReasons]:
    """Explain what the waiting tasks of each block wait for."""
    found = []
    for block in job.blocks:
        mine = [task for task in tasks if task.block == block.number]
        waiting = [task for task in mine if not task.running and not task.over]
        if not waiting:
            continue
        made = WaitReasons(
            block=block.number,
            block_name=block.name,
            task=waiting[0].task,
            tasks=len(waiting),
        )
        # What holds at every render comes alone: beside it, what is in the way at single renders
        # would say nothing.
        reasons = (*_of_job(job, farm), *_of_block(job, block, waiting))
        if not reasons and not any(render.online for render in farm.renders):
            reasons = ("no render is online",)
        if reasons:
            found.append(attrs.evolve(made, reasons=reasons))
        else:
            avoided = _avoided_hosts(farm.error_hosts, block.name, waiting[0].task)
            renders = {
                render.name: tuple(_of_render(job, block, render, farm, avoided))
                for render in farm.renders
                if render.online
            }
            found.append(attrs.evolve(made, renders=renders))
    return found


# What counts for every render


def _of_job(job: JobNode, farm: FarmNodes) -> Iterator[str]:
    if job.locked:
        yield "the job is being deleted"
    if "OFF" in job.states:
        yield "the job is paused"
    if job.priority == 0:
        yield "the priority of the job is 0"
    # The states of jobs change once a second, so the time is compared as well.
    until = integer_of(job.fields, "time_wait")
    if "WTM" in job.states or until > farm.now:
        yield f"the job starts in {max(0, until - int(farm.now))} s (time_wait)"
    if "WDP" in job.states:
        yield _name_jobs_before(job, farm)
    yield from _limits(job.fields, job.count("running"), "job")
    user = farm.users.get(job.user_name)
    if user is not None:
        if flag_of(user.fields, "paused"):
            yield f'the user "{user.name}" is paused'
        # The limits of a user are about the tasks of all jobs of that user.
        running = sum(each.count("running") for each in farm.jobs if each.user_name == user.name)
        yield from _limits(user.fields, running, f'user "{user.name}"')


def _name_jobs_before(job: JobNode, farm: FarmNodes) -> str:
    names = []
    # The first is matched with the jobs of the same user, the second with those of all users.
    for key in ("depend_mask", "depend_mask_global"):
        mask = text_of(job.fields, key)
        try:
            pattern = compile_mask(mask) if mask else None
        except _NO_MASK:
            continue  # the server does not use it either
        names += [
            each.name
            for each in farm.jobs
            if pattern is not None
            and each.id != job.id
            and (key == "depend_mask_global" or each.user_name == job.user_name)
            and pattern.fullmatch(each.name)
            and "DON" not in each.states
        ]
    if not names:
        return "the job waits for other jobs (depend_mask)"
    return f"the job waits for the jobs {quote_some(list(dict.fromkeys(names)))}"


def _limits(fields: Mapping[str, Any], running: int, of: str) -> Iterator[str]:
    # Below 0 there is no limit, and 0 lets nothing run.
    most = integer_of(fields, "max_running_tasks", -1)
    if 0 <= most <= running:
        yield f"{count_text(running, 'task')} of the {of} running, max_running_tasks is {most}"
    if integer_of(fields, "max_tasks_per_second", -1) == 0:
        yield f"max_tasks_per_second of the {of} is 0"


def _of_block(job: JobNode, block: BlockNode, waiting: Sequence[TaskNode]) -> Iterator[str]:
    # With tasks_depend_mask single tasks wait, and the block does not.
    if "WDP" in block.states or all("WDP" in task.states for task in waiting):
        others = _blocks_before(job, block)
        yield f"it waits for {others or 'other blocks'}"
    elif all("SUS" in task.states for task in waiting):
        yield "its tasks are suspended"
    elif all("PPA" in task.states for task in waiting):
        yield "its tasks wait for approval (ppa)"
    yield from _limits(block.fields, block.running, f'block "{block.name}"')


def _blocks_before(job: JobNode, block: BlockNode) -> str:
    found = []
    for key in ("depend_mask", "tasks_depend_mask"):
        mask = text_of(block.fields, key)
        for other in job.blocks if mask else ():
            try:
                ahead = compile_mask(mask).fullmatch(other.name) is not None
            except _NO_MASK:
                break
            if ahead and other.number != block.number and "DON" not in other.states:
                found.append(f'block "{other.name}" ({other.done} of {other.tasks} tasks done)')
    return ", ".join(dict.fromkeys(found))


# What counts at one render


def _of_render(
    job: JobNode,
    block: BlockNode,
    render: RenderNode,
    farm: FarmNodes,
    avoided: frozenset[str],
) -> Iterator[str]:
    # All reasons, not only the first: a user who removes one should not find the next one
    # afterwards.
    yield from _by_state(job, render, farm)
    yield from _by_capacity(job, block, render)
    if not _offers(render, block.service, farm.pools):
        yield f'it does not offer the service "{block.service}"'
    yield from _by_masks(job, block, render, farm)
    yield from _by_figures(job, block, render, farm)
    if render.name in avoided:
        yield "it is avoided after errors there (errors_avoid_host, errors_task_same_host)"


def _by_state(job: JobNode, render: RenderNode, farm: FarmNodes) -> Iterator[str]:
    states = render.states
    if "SIC" in states:
        yield "it is sick: tasks of several users failed there"
    if "WFL" in states:
        yield "it was ordered to sleep"
    if render.priority == 0:
        yield "its priority is 0"
    if "PAU" in states and not flag_of(job.fields, "ignorepaused"):
        yield "it is paused"
    # Two words that differ in their case: NBY lets no jobs run, NbY only those of its user.
    if "NBY" in states and not flag_of(job.fields, "ignorenimby"):
        yield "it takes no jobs (NIMBY)"
    elif (
        "NbY" in states
        and render.user_name != job.user_name
        and not flag_of(job.fields, "ignorenimby")
    ):
        yield f'it takes jobs of its user "{render.user_name}" only (nimby)'
    pool = farm.pools.get(text_of(render.fields, "pool"))
    for each in pool.chain(farm.pools) if pool else ():
        if "PAU" in each.states:
            yield f'its pool "{each.name}" is paused'


def _by_capacity(job: JobNode, block: BlockNode, render: RenderNode) -> Iterator[str]:
    free = render.capacity - render.capacity_used
    if block.capacity > free:
        yield f"a task needs {block.capacity} of capacity, {free} of {render.capacity} are free"
    if len(render.tasks) >= render.max_tasks:
        yield f"it runs {count_text(len(render.tasks), 'task')}, its limit is {render.max_tasks}"
    # A job and each of its blocks have limits of their own for one host.
    for fields, of, running in (
        (job.fields, "job", [task for task in render.tasks if task.job == job.id]),
        (
            block.fields,
            "block",
            [t for t in render.tasks if (t.job, t.block) == (job.id, block.number)],
        ),
    ):
        most = integer_of(fields, "max_running_tasks_per_host", -1)
        if 0 <= most <= len(running):
            yield (
                f"it runs {count_text(len(running), 'task')} of the {of},"
                f" max_running_tasks_per_host is {most}"
            )


def _offers(render: RenderNode, service: str, pools: Mapping[str, PoolNode]) -> bool:
    # As AfNodeFarm::canRunService does: the render is asked, then each pool above it, and the first
    # that has the service, or has disabled it, decides. If none of them lists any service, all are
    # offered.
    pool = pools.get(text_of(render.fields, "pool"))
    listed = False
    for fields in (render.fields, *(each.fields for each in (pool.chain(pools) if pool else ()))):
        if service in texts_of(fields, "services_disabled"):
            return False
        services = texts_of(fields, "services")
        if service in services:
            return True
        listed = listed or bool(services)
    return not listed


def _by_masks(job: JobNode, block: BlockNode, render: RenderNode, farm: FarmNodes) -> Iterator[str]:
    user = farm.users.get(job.user_name)
    # Blocks have no type of their own: their masks are read as those of the job.
    own = text_of(job.fields, "hosts_mask_type")
    kind = own or (text_of(user.fields, "hosts_mask_type") if user else "") or "find"
    os = text_of(render.fields, "os")
    properties = text_of(render.fields, "properties_host")
    for fields, of in ((block.fields, "block"), (job.fields, "job")):
        if not _matches(compile_name_mask, text_of(fields, "hosts_mask"), kind, render.name):
            yield f"its name does not match hosts_mask of the {of}"
        exclude = text_of(fields, "hosts_mask_exclude")
        if exclude and _matches(compile_name_mask, exclude, kind, render.name):
            yield f"its name matches hosts_mask_exclude of the {of}"
        if not _matches(compile_text_mask, text_of(fields, "need_os"), "find", os):
            yield f'its system "{os}" does not match need_os'
        need = text_of(fields, "need_properties")
        if not _matches(compile_text_mask, need, "find", properties):
            yield f'its properties "{properties}" do not match need_properties'


def _matches(
    compiled: Callable[[str, str], re.Pattern[str] | None], mask: str, kind: str, text: str
) -> bool:
    try:
        pattern = compiled(mask, kind)
    except _NO_MASK:
        return True  # the server does not use such a mask
    if pattern is None:
        return True
    # The pattern of a name is made for the whole name, that of another text for a part of it.
    return bool(pattern.fullmatch(text) if compiled is compile_name_mask else pattern.search(text))


_FIGURES: tuple[tuple[str, str, str], ...] = (
    ("need_memory", "mem_free_mb", "MiB of free memory"),
    ("need_hdd", "hdd_free_gb", "GiB of free disk"),
    ("need_cpu_freq_mgz", "cpu_mhz", "MHz"),
    ("need_cpu_cores", "cpu_num", "processors"),
)
"""Key of a job or a block, the figure of a render, its unit."""


def _by_figures(
    job: JobNode, block: BlockNode, render: RenderNode, farm: FarmNodes
) -> Iterator[str]:
    # Without figures there is no reason here: zeros would make some that the host does not have.
    load = farm.loads.get(render.id, {})
    for key, figure, unit in _FIGURES:
        need = max(integer_of(job.fields, key), integer_of(block.fields, key))
        have = integer_of(load, figure)
        if load and need > have:
            yield f"a task needs {need} {unit}, it has {have}"
    # Of GPU memory a host sends what there is and what is used, of the others what is free.
    gpu = integer_of(block.fields, "need_gpu_mem_mb")
    free = integer_of(load, "gpu_mem_total_mb") - integer_of(load, "gpu_mem_used_mb")
    if load and gpu > free:
        yield f"a task needs {gpu} MiB of free GPU memory, it has {free}"
    power = max(integer_of(job.fields, "need_power"), integer_of(block.fields, "need_power"))
    pool = farm.pools.get(text_of(render.fields, "pool"))
    # A render without a power of its own has that of its pool, or of one above it.
    inherited = pool.limit("power_host", farm.pools, 1) if pool else 1
    has = integer_of(render.fields, "power_host", inherited)
    if power > has:
        yield f"a task needs a power of {power}, it has {has}"


def _avoided_hosts(lines: Sequence[str], block: str, task: int) -> frozenset[str]:
    """The renders that a server avoids for a task, of its list of renders with errors."""
    heads = (f"Block['{block}'] error hosts:", f"Task[{task}] error hosts:")
    # The list has a heading for each block and, after it, one for each of its tasks with errors.
    # What follows the heading of the block counts for all its tasks.
    found = set()
    in_block = counts = False
    for line in lines:
        text = line.strip()
        if text.startswith("Block['"):
            in_block = counts = text == heads[0]
        elif text.startswith("Task["):
            counts = in_block and text == heads[1]
        elif counts and text.endswith(_AVOIDED):
            found.add(text.partition(":")[0])
    return frozenset(found)
