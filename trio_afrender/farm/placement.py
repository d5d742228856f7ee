"""Decides whether a render may run the tasks of a block. Each refusal is an obstacle with figures."""

from __future__ import annotations

import math
from collections.abc import Mapping

from trio_afrender.farm.model import Block, Job, RenderState, Task, TaskState
from trio_afrender.farm.obstacles import Obstacle, ObstacleKind
from trio_afrender.farm.render_states import Health, HostNimby, NimbyMode, PauseMode, Presence
from trio_afrender.farm.settings import FarmSettings
from trio_afrender.farm.state import FarmState
from trio_afrender.jobs.host_masks import HostMasks
from trio_afrender.jobs.job_spec import BlockSpec, HostNeeds
from trio_afrender.protocol.messages import BlockFlags

__all__ = (
    "coefficient",
    "error_rule",
    "least_capacity",
    "why_avoided_by_block",
    "why_barred",
    "why_job_rests",
    "why_limited",
    "why_not_for_block",
    "why_not_for_job",
    "why_not_for_task",
    "why_unavailable",
)

_VARCAPACITY = int(BlockFlags.VARCAPACITY)
"""A plain integer, because a test with a flag of `enum` is slow."""
_WITHOUT_LINK = {
    Presence.OFFLINE: Obstacle(ObstacleKind.OFFLINE),
    Presence.ONLINE: Obstacle(ObstacleKind.LINK_LOST),
    Presence.RUNNING: Obstacle(ObstacleKind.LINK_LOST),
    Presence.ASLEEP: Obstacle(ObstacleKind.ASLEEP),
    Presence.WAKING: Obstacle(ObstacleKind.WAKING),
    Presence.FALLING: Obstacle(ObstacleKind.FALLING),
}


def why_unavailable(state: FarmState, render: RenderState, now: float) -> Obstacle | None:
    """What keeps all tasks from a render, if anything."""
    if obstacle := _why_closed(state, render):
        return obstacle
    effective, running = render.effective, len(render.running)
    if running >= effective.max_tasks:
        return Obstacle(ObstacleKind.MAX_TASKS, have=running, of=effective.max_tasks)
    if render.capacity_used >= effective.capacity:
        return Obstacle(ObstacleKind.FULL, of=effective.capacity)
    if now < render.paused_until:
        return Obstacle(ObstacleKind.GAVE_BACK)
    return None


def _why_closed(state: FarmState, render: RenderState) -> Obstacle | None:
    """What keeps all tasks from a render even when none of its tasks runs any more."""
    states = render.states
    # A render whose link is lost still counts as there, but nothing can be sent to it.
    if render.session is None or states.presence is Presence.FALLING:
        return _WITHOUT_LINK[states.presence]
    return why_barred(state, render)


def why_barred(state: FarmState, render: RenderState) -> Obstacle | None:
    """What keeps all tasks from a render even if it is there and none of its tasks runs."""
    states = render.states
    if states.health is Health.SICK:
        return Obstacle(ObstacleKind.SICK, have=len(render.sick_errors))
    if states.host is HostNimby.ALL:
        return Obstacle(ObstacleKind.HOST_NIMBY)
    if render.effective.priority == 0:
        return Obstacle(ObstacleKind.PRIORITY)
    if state.pool.paused:
        return Obstacle(ObstacleKind.POOL_PAUSED)
    return None


def why_job_rests(job: Job, now: float) -> Obstacle | None:
    """What keeps all tasks of a job from all renders, if anything, when it waits for nothing else."""
    user = job.user
    if job.paused:
        return Obstacle(ObstacleKind.JOB_PAUSED)
    if user.paused:
        return Obstacle(ObstacleKind.USER_PAUSED, detail=user.name)
    if job.spec.priority == 0:
        return Obstacle(ObstacleKind.JOB_PRIORITY, detail="job")
    if user.priority == 0:
        return Obstacle(ObstacleKind.JOB_PRIORITY, detail="user")
    for name, owner, limit in (
        ("job", job, job.spec.needs.max_tasks_per_second),
        ("user", user, user.needs.max_tasks_per_second),
    ):
        if limit == 0 or (limit > 0 and now < owner.starts.end and owner.starts.started >= limit):
            have = owner.starts.started if now < owner.starts.end else 0
            return Obstacle(ObstacleKind.MAX_PER_SECOND, have=have, of=limit, detail=name)
    return None


def why_not_for_job(render: RenderState, job: Job) -> Obstacle | None:
    """What keeps all tasks of a job from an available render now, if anything."""
    return (
        _why_never_for_job(render, job)
        or _why_short(render, job.spec.needs)
        or _why_short(render, job.user.needs)
    )


def why_not_for_block(render: RenderState, block: Block) -> Obstacle | None:
    """What keeps the tasks of a block from a render that takes tasks of its job, if anything."""
    spec, effective = block.spec, render.effective
    least = least_capacity(spec)
    free = effective.capacity - render.capacity_used
    if least > free:
        return Obstacle(ObstacleKind.CAPACITY, need=least, have=free, of=effective.capacity)
    return (
        _why_never_for_block(render, block)
        or why_limited(render, block)
        or _why_short(render, spec.needs)
    )


def _why_never_for_job(render: RenderState, job: Job) -> Obstacle | None:
    """What keeps the tasks of a job from a render whatever else runs there, if anything."""
    states = render.states
    if states.pause is PauseMode.PAUSED and not job.spec.ignore_paused:
        return Obstacle(ObstacleKind.PAUSED)
    if not job.spec.ignore_nimby:
        if states.nimby is NimbyMode.ALL:
            return Obstacle(ObstacleKind.NIMBY_ALL)
        own = states.nimby is NimbyMode.OWN or states.host is HostNimby.OWN
        if own and render.effective.user_name != job.spec.user_name:
            return Obstacle(ObstacleKind.NIMBY, detail=render.effective.user_name)
    return _why_not_its_host(render, job.masks, job.spec.needs, "job") or _why_not_its_host(
        render, job.user.masks, job.user.needs, "user"
    )


def _why_never_for_block(render: RenderState, block: Block) -> Obstacle | None:
    """The same for the tasks of a block beyond that."""
    if not render.effective.offers(block.spec.service):
        return Obstacle(ObstacleKind.SERVICE, detail=block.spec.service)
    return _why_not_its_host(render, block.masks, block.spec.needs, "block")


def _why_not_its_host(
    render: RenderState, masks: HostMasks, needs: HostNeeds, owner: str
) -> Obstacle | None:
    if masks.hosts is not None and not masks.hosts.fullmatch(render.name):
        return Obstacle(ObstacleKind.HOSTS_MASK, detail=owner)
    if masks.exclude is not None and masks.exclude.fullmatch(render.name):
        return Obstacle(ObstacleKind.HOSTS_MASK_EXCLUDE, detail=owner)
    if masks.os is not None and not masks.os.search(render.register.os):
        return Obstacle(ObstacleKind.NEED_OS, detail=render.register.os)
    properties = render.effective.properties
    if masks.properties is not None and not masks.properties.search(properties):
        return Obstacle(ObstacleKind.NEED_PROPERTIES, detail=properties)
    if needs.need_power > render.effective.power:
        return Obstacle(ObstacleKind.NEED_POWER, need=needs.need_power, have=render.effective.power)
    return None


def why_limited(render: RenderState, block: Block) -> Obstacle | None:
    """What the numbers of running tasks of the block, its job and its user keep from a render."""
    job, user = block.job, block.job.user
    owners = (
        ("block", block.spec.needs, block.counts[TaskState.RUNNING], block.running_on),
        ("job", job.spec.needs, job.counts[TaskState.RUNNING], job.running_on),
        ("user", user.needs, user.running, user.running_on),
    )
    for name, needs, running, running_on in owners:
        limit = needs.max_running_tasks
        if 0 <= limit <= running:
            return Obstacle(ObstacleKind.MAX_RUNNING, have=running, of=limit, detail=name)
        limit = needs.max_running_tasks_per_host
        if 0 <= limit <= running_on[render.name]:
            there = running_on[render.name]
            return Obstacle(ObstacleKind.MAX_RUNNING_PER_HOST, have=there, of=limit, detail=name)
    return None


def _why_short(render: RenderState, needs: HostNeeds) -> Obstacle | None:
    """What a block needs of the host beyond what is free there."""
    load = render.resources
    if load is None:
        return None  # not reported yet: a render is not kept idle for that
    offers = (
        (ObstacleKind.NEED_MEMORY, needs.need_memory, load.mem_free_mb),
        (ObstacleKind.NEED_HDD, needs.need_hdd, load.hdd_free_gb),
        (ObstacleKind.NEED_CPU_FREQ, needs.need_cpu_freq_mgz, load.cpu_mhz),
        (ObstacleKind.NEED_CPU_CORES, needs.need_cpu_cores, load.cpu_num),
        (
            ObstacleKind.NEED_CPU_FREQ_CORES,
            needs.need_cpu_freq_cores,
            load.cpu_mhz * load.cpu_num,
        ),
        (
            ObstacleKind.NEED_GPU_MEM,
            needs.need_gpu_mem_mb,
            load.gpu_mem_total_mb - load.gpu_mem_used_mb,
        ),
    )
    for kind, need, offer in offers:
        if need > 0 and need > offer:
            return Obstacle(kind, need=need, have=offer)
    return None


def least_capacity(spec: BlockSpec) -> int:
    """The smallest capacity that a task of the block takes."""
    return spec.capacity * max(1, _least_coefficient(spec))


def _least_coefficient(spec: BlockSpec) -> int:
    return spec.capacity_coeff_min if spec.flags & _VARCAPACITY else 0


def coefficient(render: RenderState, spec: BlockSpec) -> int:
    """How many times the block's capacity a task gets on a render; 0: the capacity is fixed."""
    if not spec.flags & _VARCAPACITY:
        return 0
    free = (render.effective.capacity - render.capacity_used) // spec.capacity
    if spec.capacity_coeff_max > 0:
        free = min(free, spec.capacity_coeff_max)
    # Never below the least: `why_not_eligible` has compared the free capacity with that.
    return max(free, _least_coefficient(spec), 1)


def error_rule(settings: FarmSettings, block: Block, name: str) -> int:
    """The value of a rule such as ``errors_retries``: the block's, else its user's, else the farm's."""
    for owner in (block.spec, block.job.user, settings):
        value: int = getattr(owner, name)
        if value >= 0:
            break
    return value


def why_avoided_by_block(
    state: FarmState, render: RenderState, block: Block, now: float
) -> Obstacle | None:
    """Whether a render failed too often at a block, and another render can run it.

    Without another one it gets the block again: on a farm of one machine, avoiding the only
    render would keep the job waiting for ever.
    """
    if render.name not in block.error_hosts:
        return None
    limit = error_rule(state.settings, block, "errors_avoid_host")
    kind = ObstacleKind.AVOIDED_BY_BLOCK
    return _why_avoided(state, render, block, block.error_hosts, limit, kind, now)


def why_not_for_task(
    state: FarmState, render: RenderState, task: Task, now: float
) -> Obstacle | None:
    """What keeps one task from a render that takes the tasks of its block, if anything."""
    if task.block.job.spec.maintenance and task.block.spec.task_name(task.key.task) != render.name:
        return Obstacle(ObstacleKind.MAINTENANCE)
    if task.error_hosts is None or render.name not in task.error_hosts:
        return None
    limit = error_rule(state.settings, task.block, "errors_task_same_host")
    kind = ObstacleKind.AVOIDED_BY_TASK
    return _why_avoided(state, render, task.block, task.error_hosts, limit, kind, now)


def _why_avoided(
    state: FarmState,
    render: RenderState,
    block: Block,
    hosts: Mapping[str, tuple[int, float]],
    limit: int,
    kind: ObstacleKind,
    now: float,
) -> Obstacle | None:
    """Whether a render of `hosts`, name -> (errors, last one), has too many errors there.

    None if no other render can run the block.
    """
    forgive = error_rule(state.settings, block, "errors_forgive_time")

    def failed(other: RenderState) -> bool:
        count, last = hosts.get(other.name, (0, 0.0))
        return count >= limit and (forgive <= 0 or now < last + forgive)

    if limit <= 0 or not failed(render):
        return None
    # Another online render takes the block, now or when its other tasks have ended: what changes
    # while tasks run (used capacity, load, limits) does not count here.
    if not any(
        other is not render
        and not failed(other)
        and _why_closed(state, other) is None
        and other.effective.max_tasks > 0
        and other.effective.capacity >= block.spec.capacity
        and _why_never_for_job(other, block.job) is None
        and _why_never_for_block(other, block) is None
        for other in state.renders.values()
    ):
        return None
    count, last = hosts[render.name]
    seconds = math.ceil(last + forgive - now) if forgive > 0 else 0
    detail = f"forgiven in {seconds} s" if forgive > 0 else "never forgiven"
    return Obstacle(kind, need=seconds, have=count, of=limit, detail=detail)
