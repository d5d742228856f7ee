"""The order in which the tasks of a block are assigned: Afanasy's ``sequential``."""

from __future__ import annotations

from collections.abc import Iterator

from trio_afrender.jobs.job_spec import BlockSpec

__all__ = ("count_previews", "rank_tasks")


def rank_tasks(block: BlockSpec) -> list[int] | None:
    """The rank of each task in the order of assignment; None: in the order of their numbers."""
    step, count = block.sequential, block.task_count
    if step == 1:
        return None
    # All tasks in their order, some of them more than once: the first time counts.
    order: list[int] = []
    if step == 0:
        # The first and the last task, the one in the middle, those at the quarters, and so on.
        parts = 1
        while parts < count:
            order += [min(i * count // parts, count - 1) for i in range(parts + 1)]
            parts *= 2
    elif step > 1 and count:
        order += (0, count - 1, *_every(block, count, step))
    elif step < -1 and count:
        order += reversed(list(_every(block, count, -step)))
    # A step does not reach every task: the others follow in the order of their numbers.
    order += range(count) if step >= 0 else range(count - 1, -1, -1)
    ranks = [0] * count
    for rank, task in enumerate(dict.fromkeys(order)):
        ranks[task] = rank
    return ranks


def count_previews(block: BlockSpec) -> int | None:
    """How many tasks are coarse steps: the first ranks of a block with a step; None without one."""
    step, count = block.sequential, block.task_count
    if abs(step) < 2 or not count:
        return None
    coarse = set(_every(block, count, abs(step)))
    return len(coarse | {0, count - 1} if step > 1 else coarse)


def _every(block: BlockSpec, count: int, step: int) -> Iterator[int]:
    """The tasks with frames that are multiples of `step`; in a list the task number is the frame."""
    if not block.numeric:
        yield from range(0, count, step)
        return
    first = block.frame_first + -block.frame_first % step
    per_task = block.frames_per_task * block.frames_inc
    for frame in range(first, block.frame_last + 1, step):
        yield min((frame - block.frame_first) // per_task, count - 1)
