"""In which order the tasks of a block are handed out: Afanasy's ``sequential``."""

from __future__ import annotations

from collections.abc import Iterator

from trio_afrender.jobs.job_spec import BlockSpec

__all__ = ("rank_tasks",)


def rank_tasks(block: BlockSpec) -> list[int] | None:
    """The place of each task in the order of work; None: as they stand."""
    if block.sequential == 1:
        return None
    count = block.task_count
    ranks = [-1] * count
    place = 0
    for task in _wanted(block, count):
        if ranks[task] < 0:
            ranks[task] = place
            place += 1
    return ranks


def _wanted(block: BlockSpec, count: int) -> Iterator[int]:
    """All tasks in their order of work, some of them more than once."""
    step = block.sequential
    if not count:
        return
    if step == 0:
        yield from _coarse_to_fine(count)
    elif step > 1:
        yield 0
        yield count - 1
        yield from _every(block, count, step)
    elif step < -1:
        yield from reversed(list(_every(block, count, -step)))
    yield from range(count) if step >= 0 else range(count - 1, -1, -1)


def _coarse_to_fine(count: int) -> Iterator[int]:
    """First and last, the middle, the quarters, and so on."""
    parts = 1
    while parts < count:
        yield from (min(i * count // parts, count - 1) for i in range(parts + 1))
        parts *= 2


def _every(block: BlockSpec, count: int, step: int) -> Iterator[int]:
    """The tasks with the frames that `step` divides; in a list a task's number is its frame."""
    if not block.numeric:
        yield from range(0, count, step)
        return
    first = block.frame_first + -block.frame_first % step
    per_task = block.frames_per_task * block.frames_inc
    for frame in range(first, block.frame_last + 1, step):
        yield min((frame - block.frame_first) // per_task, count - 1)
