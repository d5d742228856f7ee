"""Explains why tasks do not start: what is in the way of each, render by render, with figures.

It asks the rules of `placement` again, so that an explanation and a round of the scheduler cannot
differ. It changes nothing, and costs more than a round: a render is asked for each block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import attrs

from trio_afrender.farm.model import Block, Job, Task, TaskState
from trio_afrender.farm.obstacles import Obstacle, ObstacleKind
from trio_afrender.farm.placement import (
    why_avoided_by_block,
    why_barred,
    why_job_rests,
    why_limited,
    why_not_for_block,
    why_not_for_job,
    why_not_for_task,
    why_unavailable,
)
from trio_afrender.farm.render_states import Presence
from trio_afrender.farm.state import FarmState
from trio_afrender.farm.task_bits import TaskBit
from trio_afrender.protocol.messages import TaskKey
from trio_afrender.text import name_renders, quote_some

__all__ = ("RenderAnswer", "WaitAnswer", "explain_job", "explain_task", "why_waiting")

_NAMED = 3
"""Blocks that one sentence names."""
_NEXT = "it comes next"
_AT_EACH_RENDER = (ObstacleKind.MAX_RUNNING, ObstacleKind.POOL_PAUSED)
"""What the rules find at a render, though it is the same at each."""
_OF_BLOCK = (ObstacleKind.MAX_RUNNING, ObstacleKind.BLOCKS, ObstacleKind.FRAMES)
"""What a sentence gives with the name of the block."""


@attrs.frozen(slots=True, kw_only=True)
class RenderAnswer:
    """What keeps a task from one render; nothing: the task is the next one there."""

    render: str
    obstacles: tuple[Obstacle, ...]

    @property
    def text(self) -> str:
        return "; ".join(obstacle.text for obstacle in self.obstacles) or _NEXT


@attrs.frozen(slots=True, kw_only=True)
class WaitAnswer:
    """What a task, or all tasks of a block in the same state, wait for."""

    key: TaskKey
    """The task, or the first one of several."""
    tasks: int = 1
    """For how many tasks this is the answer."""
    block_name: str
    obstacles: tuple[Obstacle, ...] = ()
    """What is in the way whatever the render. If there is any, `renders` is empty."""
    renders: tuple[RenderAnswer, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """The answer for users. Renders with the same answer share a sentence."""
        block = f'block "{self.block_name}"'
        if self.obstacles:
            return tuple(
                f"{block}: {obstacle.text}" if obstacle.kind in _OF_BLOCK else obstacle.text
                for obstacle in self.obstacles
            )
        names: dict[str, list[str]] = {}
        for answer in self.renders:
            names.setdefault(answer.text, []).append(answer.render)
        return tuple(f"{block}, {name_renders(found)}: {text}" for text, found in names.items())


def why_waiting(state: FarmState, job: Job, now: float) -> tuple[str, ...]:
    """Explain why tasks of a job do not start, each sentence once; () if none waits."""
    if found := tuple(_why_job_waits(job, now)):
        return tuple(obstacle.text for obstacle in found)
    answers = explain_job(state, job, now)
    return tuple(dict.fromkeys(text for answer in answers for text in answer.sentences))


def explain_job(state: FarmState, job: Job, now: float) -> tuple[WaitAnswer, ...]:
    """Answers for all tasks of a job that wait: for each block one for its ready tasks and one for
    those that wait for others."""
    first: dict[tuple[int, TaskState], Task] = {}
    for block in job.blocks:
        for task in block.tasks:
            if task.state in (TaskState.READY, TaskState.WAITING):
                first.setdefault((task.key.block, task.state), task)
    return tuple(
        attrs.evolve(
            explain_task(state, task, now), tasks=task.block.counts[task.state]
        )
        for task in first.values()
    )  # fmt: skip


def explain_task(state: FarmState, task: Task, now: float) -> WaitAnswer:
    """Answer what a task waits for. One that runs or is over has nothing in the way."""
    block = task.block
    answer = WaitAnswer(key=task.key, block_name=block.spec.name)
    if task.state is TaskState.RUNNING or task.state.over:
        return answer
    found = list(_why_job_waits(block.job, now))
    if task.marks & TaskBit.SUS:
        found.append(Obstacle(ObstacleKind.SUSPENDED))
    if block.job.awaits_approval and block.previews is not None:
        found.append(Obstacle(ObstacleKind.APPROVAL))
    if block.waits:
        detail = _describe_blocks(block)
        found.append(Obstacle(ObstacleKind.BLOCKS, need=block.waits, detail=detail))
    elif task.group is not None and task.group.waits:
        detail = _describe_blocks(block)
        found.append(Obstacle(ObstacleKind.FRAMES, need=task.group.waits, detail=detail))
    if found:
        return attrs.evolve(answer, obstacles=tuple(found))
    asked = [r for r in state.renders.values() if r.states.presence is not Presence.OFFLINE]
    if not asked:
        return attrs.evolve(answer, obstacles=(Obstacle(ObstacleKind.NO_RENDER),))
    renders = []
    for render in asked:
        obstacles = (
            why_unavailable(state, render, now),
            why_barred(state, render),  # beside the first, which names the link first
            why_not_for_job(render, block.job),
            why_not_for_block(render, block),
            why_limited(render, block),  # beside the one before, which names the capacity first
            why_avoided_by_block(state, render, block, now),
            why_not_for_task(state, render, task, now),
        )
        each = tuple(dict.fromkeys(filter(None, obstacles)))
        renders.append(RenderAnswer(render=render.name, obstacles=each))
    common = set.intersection(*(set(answer.obstacles) for answer in renders))
    whatever = tuple(o for o in renders[0].obstacles if o in common and o.kind in _AT_EACH_RENDER)
    if whatever:
        return attrs.evolve(answer, obstacles=whatever)
    return attrs.evolve(answer, renders=tuple(renders))


def _why_job_waits(job: Job, now: float) -> Iterator[Obstacle]:
    if job.over:
        return
    if job.ending:
        yield Obstacle(ObstacleKind.ENDING, detail=job.ending)
    if obstacle := why_job_rests(job, now):
        yield obstacle
    if job.held and job.held_until is not None and now < job.held_until:
        yield Obstacle(ObstacleKind.TIME, need=math.ceil(job.held_until - now))
    if job.held and (before := [other for other in job.before if other.state != "done"]):
        names = [f"{other.spec.name} ({other.state})" for other in before]
        yield Obstacle(ObstacleKind.JOBS, need=len(before), detail=quote_some(names))


def _describe_blocks(block: Block) -> str:
    """The blocks that a block waits for, as a whole or frame by frame, and how far each is."""
    parts = []
    for other in (block.job.blocks[number] for number in block.depends):
        if not other.done:
            done = other.counts[TaskState.DONE] + other.counts[TaskState.SKIPPED]
            parts.append(f'block "{other.spec.name}" ({done} of {len(other.tasks)} tasks done)')
    return ", ".join(parts[:_NAMED]) + (", ..." if len(parts) > _NAMED else "")
