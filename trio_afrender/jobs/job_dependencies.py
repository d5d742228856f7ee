"""Dependencies inside a job: of whole blocks, and of tasks by their frames.

Tasks of one frame range form a *group*. The groups of a block follow each other without gaps, so a
task overlaps consecutive groups of another block, and bisection finds the first and the last. That
keeps the number of edges near the number of tasks, whatever the masks match.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence

import attrs

from trio_afrender.errors import JobError
from trio_afrender.jobs.job_spec import BlockSpec, JobSpec
from trio_afrender.text import compile_mask

__all__ = ("Dependencies", "FrameGroups", "find_dependencies", "make_groups", "overlaps")


@attrs.frozen(slots=True)
class Dependencies:
    """For each block, the numbers of the blocks it waits for: as a whole, and task by task."""

    blocks: tuple[tuple[int, ...], ...]
    tasks: tuple[tuple[int, ...], ...]


@attrs.frozen(slots=True)
class FrameGroups:
    """The groups of a block in order: first frame, last frame and tasks of each."""

    starts: tuple[int, ...]
    finishes: tuple[int, ...]
    tasks: tuple[tuple[int, ...], ...]


def find_dependencies(spec: JobSpec) -> Dependencies:
    """Match the masks of all blocks. Raises `JobError` for blocks that wait for each other."""
    found = Dependencies(
        tuple(_matches(spec, i, block.depend_mask) for i, block in enumerate(spec.blocks)),
        tuple(_matches(spec, i, block.tasks_depend_mask) for i, block in enumerate(spec.blocks)),
    )
    edges = [sorted({*a, *b}) for a, b in zip(found.blocks, found.tasks, strict=True)]
    cycle = _find_cycle(edges)
    if cycle:
        names = " -> ".join(f'"{spec.blocks[i].name}"' for i in cycle)
        first = cycle[0]
        key = "depend_mask" if cycle[1] in found.blocks[first] else "tasks_depend_mask"
        raise JobError(f"blocks[{first}].{key}", f"blocks wait for each other: {names}")
    return found


def _matches(spec: JobSpec, block: int, mask: str) -> tuple[int, ...]:
    if not mask:
        return ()
    try:
        pattern = compile_mask(mask)
    except (re.error, RecursionError, OverflowError) as error:
        raise JobError(
            f"blocks[{block}]", f'"{mask}" is not a regular expression: {error}'
        ) from None
    others = enumerate(spec.blocks)
    return tuple(i for i, other in others if i != block and pattern.fullmatch(other.name))


def _find_cycle(edges: Sequence[Sequence[int]]) -> list[int]:
    """A path from a block back to itself, its first block again at the end; [] if there is none.

    The depth-first search keeps its own stack: a chain of thousands of blocks is legal, and would
    exceed the recursion limit.
    """
    done: set[int] = set()
    for root in range(len(edges)):
        path = {} if root in done else {root: iter(edges[root])}  # a dict keeps the order
        while path:
            block = next(reversed(path))
            for other in path[block]:
                if other in path:
                    blocks = list(path)
                    return [*blocks[blocks.index(other) :], other]
                if other not in done:
                    path[other] = iter(edges[other])
                    break
            else:
                del path[block]
                done.add(block)
    return []


def make_groups(block: BlockSpec) -> FrameGroups:
    """Group the tasks of a block by their frames, in order."""
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
    """For each group of `block`, the groups of `other` with frames in common.

    A group extends to the start of the next one, so that with an increment above 1 each frame
    belongs to a group. Frames outside of `other` belong to its first or last group. The frames of
    a list begin at 0, so a list and a numeric block are compared from their first frames.
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
