"""Who waits for whom inside a job: whole blocks, and tasks by their frames.

Tasks of one frame range form a *group*; groups of a block follow each other without gaps, so
that a task of ours overlaps a run of neighbouring groups there, found by bisection. That keeps
the number of edges near the number of tasks, whatever the masks say.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence

import attrs

from trio_afrender.errors import JobError
from trio_afrender.jobs.job_spec import BlockSpec, JobSpec

__all__ = ("Dependencies", "FrameGroups", "find_dependencies", "make_groups", "overlaps")


@attrs.frozen(slots=True)
class Dependencies:
    """For each block the numbers of the blocks it waits for: as a whole, and task by task."""

    blocks: tuple[tuple[int, ...], ...]
    tasks: tuple[tuple[int, ...], ...]


@attrs.frozen(slots=True)
class FrameGroups:
    """A block's groups in order: the first and last frame of each, and its tasks."""

    starts: tuple[int, ...]
    finishes: tuple[int, ...]
    tasks: tuple[tuple[int, ...], ...]


def find_dependencies(spec: JobSpec) -> Dependencies:
    """Match the masks. Raises `JobError` for blocks that wait for each other."""
    found = Dependencies(
        tuple(_matches(spec, i, block.depend_mask) for i, block in enumerate(spec.blocks)),
        tuple(_matches(spec, i, block.tasks_depend_mask) for i, block in enumerate(spec.blocks)),
    )
    edges = [sorted({*a, *b}) for a, b in zip(found.blocks, found.tasks, strict=True)]
    circle = _find_circle(edges)
    if circle:
        names = " -> ".join(f'"{spec.blocks[i].name}"' for i in circle)
        first = circle[0]
        key = "depend_mask" if circle[1] in found.blocks[first] else "tasks_depend_mask"
        raise JobError(f"blocks[{first}].{key}", f"blocks wait for each other: {names}")
    return found


def _matches(spec: JobSpec, block: int, mask: str) -> tuple[int, ...]:
    if not mask:
        return ()
    try:
        pattern = re.compile(mask)
    except re.error as error:
        raise JobError(f"blocks[{block}]", f'"{mask}" is no regular expression: {error}') from None
    others = enumerate(spec.blocks)
    return tuple(i for i, other in others if i != block and pattern.fullmatch(other.name))


def _find_circle(edges: Sequence[Sequence[int]]) -> list[int]:
    """A way from a block back to itself, its first block again at the end; [] when none is.

    With a stack of our own: a chain of some thousand blocks is legal.
    """
    done: set[int] = set()
    for root in range(len(edges)):
        way = {} if root in done else {root: iter(edges[root])}  # a dict keeps the order
        while way:
            here = next(reversed(way))
            for other in way[here]:
                if other in way:
                    names = list(way)
                    return [*names[names.index(other) :], other]
                if other not in done:
                    way[other] = iter(edges[other])
                    break
            else:
                del way[here]
                done.add(here)
    return []


def make_groups(block: BlockSpec) -> FrameGroups:
    """Group a block's tasks by the frames they stand for, in order."""
    starts: list[int] = []
    finishes: list[int] = []
    tasks: list[list[int]] = []
    for task in range(block.task_count):
        start, finish, _ = block.frames(task)
        if starts and starts[-1] == start:
            tasks[-1].append(task)
        else:
            starts.append(start)
            finishes.append(finish)
            tasks.append([task])
    return FrameGroups(tuple(starts), tuple(finishes), tuple(map(tuple, tasks)))


def overlaps(
    block: BlockSpec, groups: FrameGroups, other: BlockSpec, others: FrameGroups
) -> Iterator[range]:
    """For each group of `block` the groups of `other` whose frames it touches.

    A group reaches up to the start of the next one, so that with increments every frame belongs
    somewhere; frames outside of `other` count to its first or last group. A list's frames count
    from 0, so against a numeric block both are taken from their first.
    """
    shift = 0
    if block.numeric and not other.numeric:
        shift = -block.frame_first
    elif other.numeric and not block.numeric:
        shift = other.frame_first
    for start, finish in zip(groups.starts, groups.finishes, strict=True):
        low = max(0, bisect_right(others.starts, start + shift) - 1)
        high = max(0, bisect_right(others.starts, finish + shift) - 1)
        yield range(low, high + 1) if others.starts else range(0)
