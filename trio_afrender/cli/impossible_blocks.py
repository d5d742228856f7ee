"""Blocks of a job whose tasks none of the renders can ever run, so that nothing waits for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import trio

from trio_afrender.cli.job_preview import make_plan
from trio_afrender.cli.local_agents import make_local_configs
from trio_afrender.cli.terminal import clean
from trio_afrender.config import Config
from trio_afrender.farm.farm import Farm
from trio_afrender.farm.model import TaskState
from trio_afrender.hostinfo.identity import host_facts
from trio_afrender.hostinfo.sampler import Sampler, make_sampler_config
from trio_afrender.jobs.job_spec import JobSpec
from trio_afrender.protocol.messages import HostResources, Register

__all__ = ("describe_renders", "end_when_stuck", "find_impossible")


def describe_renders(config: Config, agents: int) -> list[Register]:
    """Return what so many renders of this host would register with. Measures the host: blocking."""
    resources = trio.run(Sampler(make_sampler_config(config)).measure)
    facts = host_facts()
    return [
        Register(
            name=each.name,
            user_name=each.user_name,
            os=facts.os,
            capacity=each.capacity,
            max_tasks=each.max_tasks,
            resources=_free(resources),
        )
        for each in make_local_configs(config, agents, Path())
    ]


def _free(resources: HostResources | None) -> HostResources | None:
    """The figures of a host on which everything is free."""
    if resources is None:
        return None
    return attrs.evolve(
        resources,
        mem_free_mb=resources.mem_total_mb,
        hdd_free_gb=resources.hdd_total_gb,
        gpu_mem_used_mb=0,
    )


def find_impossible(spec: JobSpec, registers: Sequence[Register]) -> dict[int, tuple[str, ...]]:
    """Return the numbers of blocks that can never run on these renders, with the reasons.

    Blocks that wait for such a block are not among them.
    """
    # One task of each block is enough: all of its tasks have the same needs.
    blocks = tuple(
        attrs.evolve(block, frame_last=block.frame_first)
        if block.numeric
        else attrs.evolve(block, tasks=block.tasks[:1])
        for block in spec.blocks
    )
    return dict(make_plan(attrs.evolve(spec, blocks=blocks), registers, None).stuck)


async def end_when_stuck(
    farm: Farm,
    job: int,
    spec: JobSpec,
    renders: int,
    warn: Callable[[str], None],
) -> None:
    """End the job as soon as nothing is left but what can never run, and tasks that wait for that.

    Waits for so many renders first, and then warns of what can never run: before hours of rendering, not
    after them.
    """
    seen = 0
    while sum(render.online for render in farm.state.renders.values()) < renders:
        seen = await farm.changed(seen)
    # As if nothing ran on their hosts.
    registers = [
        attrs.evolve(each.register, running=(), undelivered=(), resources=_free(each.resources))
        for each in farm.state.renders.values()
    ]
    impossible = find_impossible(spec, registers)
    record = farm.state.find_job(job)
    for block, reasons in impossible.items():
        if any(count for state, count in record.blocks[block].counts.items() if not state.over):
            for text in reasons:
                warn(clean(f"can never run here: {text}"))
    # Records instead of views: a view of 200,000 tasks takes as long as many changes.
    while not record.over:
        ready = {block.number for block in record.blocks if block.counts[TaskState.READY]}
        if ready and ready <= impossible.keys() and not record.counts[TaskState.RUNNING]:
            text = "; ".join([text for block in sorted(ready) for text in impossible[block]][:3])
            warn(clean(f"nothing runs: {text}; the job ends"))
            farm.drain_job(job, f"no render here can ever run it: {text}")
            return
        seen = await farm.changed(seen)
