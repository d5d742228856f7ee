"""Decides whether a render may run the tasks of a block. Each refusal is a sentence for users."""

from __future__ import annotations

from collections.abc import Callable

from trio_afrender.farm.model import Block, Job, RenderState, Task, TaskState
from trio_afrender.farm.state import FarmState
from trio_afrender.jobs.job_spec import BlockSpec
from trio_afrender.protocol.messages import BlockFlags

__all__ = ("avoids_block", "avoids_task", "coefficient", "why_not_eligible", "why_unavailable")

_NIMBY_OWN = 2
_NIMBY_ALL = 4


def why_unavailable(render: RenderState, now: float) -> str:
    """Explain why a render takes no task at all; empty if it does."""
    if not render.online:
        return "it is offline"
    if render.state & _NIMBY_ALL:
        return "it takes no jobs (NIMBY)"
    if render.register.priority == 0:
        return "its priority is 0"
    if len(render.running) >= render.register.max_tasks:
        return f"it runs {len(render.running)} tasks, its limit"
    if now < render.paused_until:
        return "it has just given a task back"
    return ""


def why_not_eligible(render: RenderState, job: Job, block: Block) -> str:
    """Explain why an available render takes no task of this block; empty if it does."""
    spec, register = block.spec, render.register
    least = spec.capacity * max(1, _least_coefficient(spec))
    free = register.capacity - render.capacity_used
    if least > free:
        return f"a task needs capacity {least}, free is {free} of {register.capacity}"
    if register.services and spec.service not in register.services:
        return f'it does not offer the service "{spec.service}"'
    owners_only = render.state & _NIMBY_OWN and not job.spec.ignore_nimby
    if owners_only and register.user_name != job.spec.user_name:
        return "it takes its owner's jobs only (nimby)"
    for owner in (block, job):
        if reason := _mask_mismatch(render, owner):
            return reason
        limit = owner.spec.needs.max_running_tasks
        if 0 <= limit <= owner.counts[TaskState.RUNNING]:
            return f"max_running_tasks is {limit}"
        limit = owner.spec.needs.max_running_tasks_per_host
        if 0 <= limit <= owner.running_on[render.name]:
            return f"max_running_tasks_per_host is {limit}"
    load, needs = render.resources, spec.needs
    if load is None:
        return ""  # not reported yet: a render is not kept idle for that
    offers = (
        ("need_memory", needs.need_memory, load.mem_free_mb),
        ("need_hdd", needs.need_hdd, load.hdd_free_gb),
        ("need_cpu_freq_mgz", needs.need_cpu_freq_mgz, load.cpu_mhz),
        ("need_cpu_cores", needs.need_cpu_cores, load.cpu_num),
        ("need_cpu_freq_cores", needs.need_cpu_freq_cores, load.cpu_mhz * load.cpu_num),
        ("need_gpu_mem_mb", needs.need_gpu_mem_mb, load.gpu_mem_total_mb - load.gpu_mem_used_mb),
    )
    for name, need, offer in offers:
        if need > 0 and need > offer:
            return f"{name} is {need}, it has {offer}"
    return ""


def _mask_mismatch(render: RenderState, owner: Block | Job) -> str:
    name, masks = render.name, owner.masks
    if masks.hosts is not None and not masks.hosts.fullmatch(name):
        return "its name does not match hosts_mask"
    if masks.exclude is not None and masks.exclude.fullmatch(name):
        return "its name matches hosts_mask_exclude"
    if masks.os is not None and not masks.os.search(render.register.os):
        return f'its system is "{render.register.os}", not need_os'
    return ""


def _least_coefficient(spec: BlockSpec) -> int:
    return spec.capacity_coeff_min if spec.flags & BlockFlags.VARCAPACITY else 0


def coefficient(render: RenderState, spec: BlockSpec) -> int:
    """How many times the block's capacity a task gets on a render; 0: the capacity is fixed."""
    if not spec.flags & BlockFlags.VARCAPACITY:
        return 0
    free = (render.register.capacity - render.capacity_used) // spec.capacity
    if spec.capacity_coeff_max > 0:
        free = min(free, spec.capacity_coeff_max)
    # Never below the least: `why_not_eligible` has compared the free capacity with that.
    return max(free, _least_coefficient(spec), 1)


def avoids_block(state: FarmState, render: RenderState, block: Block, now: float) -> bool:
    """Whether a render failed too often at a block, and another render can run it.

    Without another one it gets the block again: on a farm of one machine, avoiding the only
    render would keep the job waiting for ever.
    """
    limit = _own_or_default(block.spec.errors_avoid_host, state.settings.errors_avoid_host)
    forgive = block.spec.errors_forgive_time

    def failed(other: RenderState) -> bool:
        count, last = block.error_hosts.get(other.name, (0, 0.0))
        return count >= limit and (forgive <= 0 or now < last + forgive)

    return limit > 0 and failed(render) and _has_alternative(state, render, block, failed)


def avoids_task(state: FarmState, render: RenderState, task: Task) -> bool:
    """Whether a render failed too often at a task, and another render can run it."""
    if task.error_hosts is None:
        return False
    hosts = task.error_hosts  # in the closure the attribute's type would include None
    spec = task.block.spec
    limit = _own_or_default(spec.errors_task_same_host, state.settings.errors_task_same_host)

    def failed(other: RenderState) -> bool:
        return hosts[other.name] >= limit

    return limit > 0 and failed(render) and _has_alternative(state, render, task.block, failed)


def _own_or_default(own: int, default: int) -> int:
    return own if own >= 0 else default


def _has_alternative(
    state: FarmState, render: RenderState, block: Block, failed: Callable[[RenderState], bool]
) -> bool:
    """Whether another online render takes the block, now or when its other tasks have ended."""
    # What changes while tasks run (used capacity, load, limits) does not count here.
    for other in state.renders.values():
        if other is render or not other.online or failed(other):
            continue
        if other.state & _NIMBY_ALL or other.register.priority == 0:
            continue
        if other.register.max_tasks < 1 or other.register.capacity < block.spec.capacity:
            continue
        services = other.register.services
        if services and block.spec.service not in services:
            continue
        if not any(_mask_mismatch(other, owner) for owner in (block, block.job)):
            return True
    return False
