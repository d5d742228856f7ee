"""Frame numbers: which frames a task has, and how they are filled into patterns.

A numeric block is a range of frames cut into tasks; any other block is a list of tasks, to which
frames are given by their number in the list. Out of range settings count as Afanasy's server
counts them: a step or a number of frames below one is one.
"""

from __future__ import annotations

import re

__all__ = (
    "fill_numbers",
    "frames_between",
    "listed_frames",
    "process_pattern",
    "task_count",
    "task_frames",
)

_NUMBER = re.compile(r"@(#+)@")
_TASK_PART = "@#@"


def task_count(first: int, last: int, per_task: int, inc: int) -> int:
    """Into how many tasks a numeric block is cut."""
    frames = (max(first, last) - first) // max(1, inc) + 1
    per_task = max(1, per_task)
    return (frames + per_task - 1) // per_task


def task_frames(
    first: int, last: int, per_task: int, inc: int, task_num: int
) -> tuple[int, int, int]:
    """Start, finish (inclusive, on the step) and number of frames of a numeric block's task.

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
    """Start, finish and number of frames of a task that stands in a list.

    With `per_task` of -K every K tasks share one frame; the number of frames is then -K, as
    Afanasy's server tells it (a parser counts it as one).
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
    """Put numbers for the tokens ``@#@``, ``@##@`` ...: start, end, start, end in turn.

    As many digits as the token has ``#``, padded with zeros; the sign is one of them; longer
    numbers are not cut.
    """
    turn = 0

    def number(match: re.Match[str]) -> str:
        nonlocal turn
        value = end if turn % 2 else start
        turn += 1
        return f"{value:0{len(match.group(1))}d}"

    return _NUMBER.sub(number, pattern)


def process_pattern(block: str, task: str) -> str:
    """Combine the block's and the task's part of a command or file of a task in a list.

    The task's part goes where the block's says ``@#@``, or behind it.
    """
    if not task:
        return block
    if _TASK_PART in block:
        return block.replace(_TASK_PART, task)
    return block + task


def frames_between(start: int, finish: int, inc: int) -> range:
    """The frames of a task; a step below one counts as one."""
    return range(start, finish + 1, max(1, inc))
