"""Frame numbers: the frames of each task, and the substitution of numbers in patterns.

A numeric block is a range of frames divided into tasks. Any other block is a list of tasks, whose
frames follow from their position in the list. Invalid settings count as in Afanasy's server: a step
or a number of frames below one is one.
"""

from __future__ import annotations

import re

__all__ = (
    "fill_numbers",
    "first_common",
    "frames_between",
    "listed_frames",
    "parse_ranges",
    "process_pattern",
    "task_count",
    "task_frames",
)

_NUMBER = re.compile(r"@(#+)@")
_TASK_PART = "@#@"
_RANGE = re.compile(r"(-?\d{1,9})(?:-(-?\d{1,9}))?(?:/(\d{1,9}))?")
_MOST_RANGES = 1000


def task_count(first: int, last: int, per_task: int, inc: int) -> int:
    """Return the number of tasks of a numeric block."""
    frames = (max(first, last) - first) // max(1, inc) + 1
    per_task = max(1, per_task)
    return (frames + per_task - 1) // per_task


def task_frames(
    first: int, last: int, per_task: int, inc: int, task_num: int
) -> tuple[int, int, int]:
    """Return start, finish (inclusive, on the step) and number of frames of a numeric block's task.

    Raises IndexError for a task that the block does not have.
    """
    if not 0 <= task_num < task_count(first, last, per_task, inc):
        raise IndexError(f"the block has no task {task_num}")
    inc, per_task = max(1, inc), max(1, per_task)
    start = first + task_num * per_task * inc
    left = (max(first, last) - start) // inc
    num = min(per_task, left + 1)
    return start, start + (num - 1) * inc, num


def listed_frames(per_task: int, task_num: int) -> tuple[int, int, int]:
    """Return start, finish and number of frames of a task in a list.

    If `per_task` is -K, K tasks share one frame; the number of frames is then -K, as Afanasy's
    server sends it (a parser counts it as one). Raises IndexError for a negative task number.
    """
    if task_num < 0:
        raise IndexError(f"the block has no task {task_num}")
    if per_task < 0:
        start = task_num // -per_task
        return start, start, per_task
    per_task = max(1, per_task)
    start = task_num * per_task
    return start, start + per_task - 1, per_task


def fill_numbers(pattern: str, start: int, end: int) -> str:
    """Replace the tokens ``@#@``, ``@##@`` ... by start, end, start, end and so on.

    A number is padded with zeros to as many characters as the token has ``#``, its sign included;
    longer numbers are not cut.
    """
    turn = 0

    def number(match: re.Match[str]) -> str:
        nonlocal turn
        value = end if turn % 2 else start
        turn += 1
        return f"{value:0{len(match.group(1))}d}"

    return _NUMBER.sub(number, pattern)


def process_pattern(block: str, task: str) -> str:
    """Combine the block's and the task's part of a command or file name, for a task in a list.

    The task's part replaces each ``@#@`` of the block's part; without one it is appended.
    """
    if not task:
        return block
    if _TASK_PART in block:
        return block.replace(_TASK_PART, task)
    return block + task


def frames_between(start: int, finish: int, inc: int) -> range:
    """Return the frames of a task; a step below one counts as one."""
    return range(start, finish + 1, max(1, inc))


def parse_ranges(text: str) -> tuple[range, ...]:
    """Return the frames of ``1-100``, ``1-100/2`` (every second one) or ``1,5,7-9``, in this order.

    Raises `ValueError` with a sentence for anything else, and for a frame that occurs twice.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > _MOST_RANGES:
        raise ValueError(f"more than {_MOST_RANGES} ranges")
    found: list[range] = []
    for part in parts:
        match = _RANGE.fullmatch(part)
        if match is None:
            raise ValueError(f'"{part}" is no frame: expected 1-100, 1-100/2 or 1,5,7-9')
        first = int(match[1])
        last, step = int(match[2] or first), int(match[3] or 1)
        if not step:
            raise ValueError(f'"{part}": a step of 0')
        if last < first:
            raise ValueError(f'"{part}": {last} is before {first}')
        frames = range(first, last + 1, step)
        for other in found:
            if (twice := first_common(frames, other)) is not None:
                raise ValueError(f'"{text}": frame {twice} is there twice')
        found.append(frames)
    return tuple(found)


def first_common(one: range, other: range) -> int | None:
    """Return the first frame of both ranges, without looking at each. Both have a frame."""
    if one.step < other.step:
        one, other = other, one
    low, high = max(one.start, other.start), min(one[-1], other[-1])
    # Whether a frame is in `other` repeats with its step, so so many frames of `one` decide.
    start = one.start + -(-(low - one.start) // one.step) * one.step
    tried = range(start, high + 1, one.step)[: other.step]
    return next((frame for frame in tried if frame in other), None)
