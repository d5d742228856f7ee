"""Dependencies: masks, cycles, overlapping frames, and the order of assignment."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_afrender.errors import JobError
from trio_afrender.farm.task_order import rank_tasks
from trio_afrender.jobs.job_dependencies import find_dependencies, make_groups, overlaps
from trio_afrender.jobs.job_spec import BlockSpec, JobSpec, TaskSpec
from trio_afrender.protocol.messages import BlockFlags


def frames(
    first: int, last: int, per_task: int = 1, inc: int = 1, *, name: str = "b", mask: str = ""
) -> BlockSpec:
    return BlockSpec(
        name=name, flags=BlockFlags.NUMERIC, frame_first=first, frame_last=last,
        frames_per_task=per_task, frames_inc=inc, depend_mask=mask,
    )  # fmt: skip


def listed(count: int, per_task: int = 1) -> BlockSpec:
    return BlockSpec(tasks=(TaskSpec(),) * count, frames_per_task=per_task)


def waits_for(block: BlockSpec, other: BlockSpec) -> dict[int, set[int]]:
    """Task of `block` -> tasks of `other`."""
    ours, theirs = make_groups(block), make_groups(other)
    found: dict[int, set[int]] = {}
    for tasks, span in zip(ours.tasks, overlaps(block, ours, other, theirs), strict=True):
        for task in tasks:
            found[task] = {t for i in span for t in theirs.tasks[i]}
    return found


@pytest.mark.parametrize(
    ("block", "other", "expected"),
    [
        (frames(1, 3), frames(1, 3), {0: {0}, 1: {1}, 2: {2}}),
        (frames(1, 4, 2), frames(1, 4), {0: {0, 1}, 1: {2, 3}}),
        (frames(1, 4), frames(1, 4, 2), {0: {0}, 1: {0}, 2: {1}, 3: {1}}),
        # With an increment each frame belongs to the task before the next one.
        (frames(1, 4), frames(1, 4, 1, 2), {0: {0}, 1: {0}, 2: {1}, 3: {1}}),
        # Frames that the other block does not have: its first or last task.
        (frames(0, 3), frames(1, 2), {0: {0}, 1: {0}, 2: {1}, 3: {1}}),
        (frames(10, 10), frames(1, 2), {0: {1}}),
        # A list counts from 0, a numeric block from its first frame.
        (listed(3), frames(5, 7), {0: {0}, 1: {1}, 2: {2}}),
        (frames(5, 7), listed(3), {0: {0}, 1: {1}, 2: {2}}),
        (listed(2, 2), listed(4), {0: {0, 1}, 1: {2, 3}}),
        # Parts of a frame: everything of that frame.
        (frames(1, 2), listed(4, -2), {0: {0, 1}, 1: {2, 3}}),
        (listed(4, -2), frames(1, 2), {0: {0}, 1: {0}, 2: {1}, 3: {1}}),
        (frames(-5, -3), frames(-5, -3), {0: {0}, 1: {1}, 2: {2}}),
    ],
)
def test_overlapping_frames(
    block: BlockSpec, other: BlockSpec, expected: dict[int, set[int]]
) -> None:
    assert waits_for(block, other) == expected


numeric = st.builds(
    lambda first, count, per_task, inc: frames(first, first + count, per_task, inc),
    st.integers(-20, 20), st.integers(0, 30), st.integers(1, 5), st.integers(1, 4),
)  # fmt: skip


@given(numeric, numeric)
def test_tasks_wait_for_all_frames_they_share(block: BlockSpec, other: BlockSpec) -> None:
    found = waits_for(block, other)
    for task in range(block.task_count):
        start, finish, _ = block.frames(task)
        ours = set(range(start, finish + 1, block.frames_inc))
        for t in range(other.task_count):
            start, finish, _ = other.frames(t)
            if ours & set(range(start, finish + 1, other.frames_inc)):
                assert t in found[task]
        assert found[task]


def test_masks_match_whole_names_of_others() -> None:
    blocks = (frames(1, 1, name="render"), frames(1, 1, name="render2"), frames(1, 1, name="x"))
    assert find_dependencies(JobSpec(blocks=(*blocks[:2], frames(1, 1, mask="render")))).blocks == (
        (),
        (),
        (0,),
    )
    spec = JobSpec(blocks=(*blocks, frames(1, 1, name="all", mask=".*")))
    assert find_dependencies(spec).blocks[3] == (0, 1, 2)


@pytest.mark.parametrize(
    ("masks", "cycle"),
    [
        ({"a": "b", "b": "a"}, '"a" -> "b" -> "a"'),
        ({"a": "", "b": "c", "c": "d", "d": "b|a"}, '"b" -> "c" -> "d" -> "b"'),
        ({"a": ".*", "b": ".*"}, '"a" -> "b" -> "a"'),
    ],
)
def test_cycles_are_named(masks: dict[str, str], cycle: str) -> None:
    blocks = tuple(frames(1, 1, name=name, mask=mask) for name, mask in masks.items())
    with pytest.raises(JobError, match=re.escape(cycle)):
        find_dependencies(JobSpec(blocks=blocks))


def test_long_chains_and_diamonds_are_not_cycles() -> None:
    chain = tuple(frames(1, 1, name=f"b{i}", mask=f"b{i - 1}|b{i - 2}") for i in range(1500))
    assert find_dependencies(JobSpec(blocks=chain)).blocks[9] == (7, 8)


@pytest.mark.parametrize("mask", ["(", "(" * 10_000 + ")" * 10_000, "a{" + "9" * 20 + "}"])
def test_an_invalid_mask_of_a_specification(mask: str) -> None:
    with pytest.raises(JobError, match=r"blocks\[0\]"):
        find_dependencies(JobSpec(blocks=(frames(1, 1, mask=mask),)))


def order_of(sequential: int, block: BlockSpec) -> list[int]:
    import attrs

    ranks = rank_tasks(attrs.evolve(block, sequential=sequential))
    if ranks is None:
        return list(range(block.task_count))
    return sorted(range(len(ranks)), key=ranks.__getitem__)


@pytest.mark.parametrize(
    ("sequential", "expected"),
    [
        (1, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (-1, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
        (0, [0, 9, 5, 2, 7, 1, 3, 6, 8, 4]),
        (4, [0, 9, 3, 7, 1, 2, 4, 5, 6, 8]),
        (-4, [7, 3, 9, 8, 6, 5, 4, 2, 1, 0]),
    ],
)
def test_the_order_of_assignment(sequential: int, expected: list[int]) -> None:
    assert order_of(sequential, frames(1, 10)) == expected


@given(numeric | st.builds(listed, st.integers(0, 40)), st.integers(-12, 12))
def test_every_task_has_one_rank(block: BlockSpec, sequential: int) -> None:
    assert sorted(order_of(sequential, block)) == list(range(block.task_count))
