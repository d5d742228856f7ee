"""Frames of tasks and numbers in patterns."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_afrender.frame_ranges import (
    fill_numbers,
    frames_between,
    listed_frames,
    parse_ranges,
    process_pattern,
    task_count,
    task_frames,
)


@pytest.mark.parametrize(
    ("block", "tasks"),
    [
        ((1, 10, 1, 1), 10),
        ((1, 10, 3, 1), 4),
        ((1, 20, 4, 2), 3),
        ((-5, 5, 4, 1), 3),
        ((7, 7, 10, 5), 1),
        ((1, 10, 0, 0), 10),  # a step or a number below one counts as one
        ((1, 10, -2, -1), 10),
        ((10, 1, 1, 1), 1),  # a range whose end is before its start has its first frame alone
    ],
)
def test_task_count(block: tuple[int, int, int, int], tasks: int) -> None:
    assert task_count(*block) == tasks


@pytest.mark.parametrize(
    ("block", "task", "frames"),
    [
        ((1, 20, 4, 2), 0, (1, 7, 4)),
        ((1, 20, 4, 2), 1, (9, 15, 4)),
        ((1, 20, 4, 2), 2, (17, 19, 2)),
        ((1, 10, 3, 1), 3, (10, 10, 1)),
        ((-5, 5, 4, 1), 0, (-5, -2, 4)),
        ((-5, 5, 4, 1), 2, (3, 5, 3)),
        ((-10, -1, 2, 3), 1, (-4, -1, 2)),
        ((10, 1, 1, 1), 0, (10, 10, 1)),
    ],
)
def test_task_frames(
    block: tuple[int, int, int, int], task: int, frames: tuple[int, int, int]
) -> None:
    assert task_frames(*block, task) == frames


@pytest.mark.parametrize("task", [-1, 3, 100])
def test_a_task_that_the_block_does_not_have(task: int) -> None:
    with pytest.raises(IndexError, match="no task"):
        task_frames(1, 20, 4, 2, task)


@given(
    first=st.integers(-50, 50),
    length=st.integers(0, 60),
    per_task=st.integers(-2, 9),
    inc=st.integers(-2, 7),
)
def test_every_frame_of_the_block_is_in_one_task(
    first: int, length: int, per_task: int, inc: int
) -> None:
    last = first + length
    found: list[int] = []
    for task in range(task_count(first, last, per_task, inc)):
        start, finish, num = task_frames(first, last, per_task, inc, task)
        frames = frames_between(start, finish, inc)
        assert len(frames) == num
        found.extend(frames)
    assert found == list(range(first, last + 1, max(1, inc)))


@pytest.mark.parametrize(
    ("per_task", "task", "frames"),
    [
        (1, 3, (3, 3, 1)),
        (2, 3, (6, 7, 2)),
        (0, 3, (3, 3, 1)),
        (-2, 0, (0, 0, -2)),
        (-2, 3, (1, 1, -2)),
    ],
)
def test_listed_frames(per_task: int, task: int, frames: tuple[int, int, int]) -> None:
    assert listed_frames(per_task, task) == frames


def test_listed_frames_of_no_task() -> None:
    with pytest.raises(IndexError, match="no task"):
        listed_frames(1, -1)


@pytest.mark.parametrize(
    ("pattern", "filled"),
    [
        ("-s @#@ -e @#@ -n @##@", "-s 7 -e 12 -n 07"),
        ("f.@####@.exr", "f.0007.exr"),
        ("@#", "@#"),
        ("@# @", "@# @"),
        ("@@#@@", "@7@"),
        ("@#@@#@", "712"),
        ("user@host", "user@host"),
        ("", ""),
    ],
)
def test_fill_numbers(pattern: str, filled: str) -> None:
    assert fill_numbers(pattern, 7, 12) == filled


@pytest.mark.parametrize(
    ("number", "filled"), [(-5, "-005"), (123456, "123456"), (-12345, "-12345"), (0, "0000")]
)
def test_the_sign_counts_as_a_digit_and_no_number_is_cut(number: int, filled: str) -> None:
    assert fill_numbers("@####@", number, number) == filled


@pytest.mark.parametrize(
    ("block", "task", "made"),
    [
        ("render", "", "render"),
        ("", "scene", "scene"),
        ("", "", ""),
        ("render @#@ to @#@", "a", "render a to a"),
        ("render @##@ ", "a", "render @##@ a"),
        ("render ", "-f 1", "render -f 1"),
    ],
)
def test_process_pattern(block: str, task: str, made: str) -> None:
    assert process_pattern(block, task) == made


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        ("1-100", [range(1, 101)]),
        ("1-100/2", [range(1, 101, 2)]),
        ("7", [range(7, 8)]),
        ("1, 5,7-9", [range(1, 2), range(5, 6), range(7, 10)]),
        ("-5--1,-10", [range(-5, 0), range(-10, -9)]),
        ("1-9/2,2-10/2", [range(1, 10, 2), range(2, 11, 2)]),
        ("0-0/7", [range(0, 1, 7)]),
    ],
)
def test_ranges_are_read(text: str, frames: list[range]) -> None:
    assert list(parse_ranges(text)) == frames


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", '"" is no frame'),
        ("1-", '"1-" is no frame'),
        ("a", '"a" is no frame'),
        ("1..5", "no frame"),
        ("1-5/0", "a step of 0"),
        ("5-1", "1 is before 5"),
        ("1-5,3", "frame 3 is there twice"),
        ("1-99/7,2-98/3", "frame 8 is there twice"),
        ("1-999999999,7-999999999/100000", "frame 7 is there twice"),
        ("7-999999999/999999,1-999999999", "frame 7 is there twice"),
        ("9" * 40, "no frame"),
        (",".join(map(str, range(1001))), "more than 1000 ranges"),
    ],
)
def test_wrong_ranges_are_named(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        parse_ranges(text)


@given(*[st.builds(range, st.integers(0, 30), st.integers(31, 60), st.integers(1, 12))] * 2)
def test_common_frames_are_found(one: range, other: range) -> None:
    common = set(one) & set(other)
    text = f"{one.start}-{one[-1]}/{one.step},{other.start}-{other[-1]}/{other.step}"
    if common:
        with pytest.raises(ValueError, match=f"frame {min(common)} is there twice"):
            parse_ranges(text)
    else:
        parse_ranges(text)
