"""Requests that end an afserver 3.4.1: it dereferences what is not there. Checked before sending.

Each of them is one message without a login, so a slip of ours could stop a whole farm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trio_afrender.protocol.messages import BlockFlags

__all__ = ("find_fatal",)

_MAX_DEPTH = 1000
"""Nested objects and lists; the server survives 100,000."""
_ALL_BLOCKS = [-1]


def find_fatal(question: object) -> str:
    """Return why a request must not be sent; empty if it may."""
    if _is_deeper(question, _MAX_DEPTH):
        return f"it is nested more than {_MAX_DEPTH} deep"
    if not isinstance(question, Mapping):
        return ""
    # The server looks for the keys in this order and uses the first one. In the first, negative
    # ids of nodes are harmless.
    if isinstance(asked := question.get("get"), Mapping):
        return "a block number is negative" if _has_negative(asked, "block_ids") else ""
    if isinstance(action := question.get("action"), Mapping):
        return _check_action(action)
    if "job" in question:
        job = question["job"]
        if not isinstance(job, Mapping):
            return "the job is no object"
        # A server takes an id that it is given; one that is used, negative or huge ends it.
        if "id" in job:
            return "the job has an id of its own"
        if not isinstance(job.get("user_name"), str) or not job["user_name"]:
            return "the job has no user_name"
        return _check_blocks(job.get("blocks"))
    if "monitor" in question and not isinstance(question["monitor"], Mapping):
        return "the monitor is no object"
    return ""


def _check_action(action: Mapping[str, Any]) -> str:
    # Also -1, which elsewhere means all.
    if _has_negative(action, "ids"):
        return "an id is negative"
    # All blocks are the one negative number that it knows.
    if action.get("block_ids") != _ALL_BLOCKS and _has_negative(action, "block_ids"):
        return "a block number is negative"
    operation = action.get("operation")
    if not isinstance(operation, Mapping):
        return ""
    if _has_negative(operation, "task_ids"):
        return "a task number is negative"
    if operation.get("type") == "append_tasks":
        return _check_tasks(operation.get("tasks"))
    if operation.get("type") == "append_blocks":
        return _check_blocks(operation.get("blocks"))
    return ""


def _check_blocks(blocks: object) -> str:
    if not isinstance(blocks, list) or not blocks:
        return "the job has no blocks"
    for number, block in enumerate(blocks):
        if not isinstance(block, Mapping):
            return f"block {number} is no object"
        flags = block.get("flags", 0)
        # The tasks of a numeric block come from its range of frames. Any other block needs a list.
        if isinstance(flags, int) and flags & BlockFlags.NUMERIC:
            continue
        if problem := _check_tasks(block.get("tasks")):
            return f"block {number}: {problem}"
    return ""


def _check_tasks(tasks: object) -> str:
    if not isinstance(tasks, list) or not tasks:
        return "it has no tasks"
    return "" if all(isinstance(task, Mapping) for task in tasks) else "a task is no object"


def _has_negative(fields: Mapping[str, Any], key: str) -> bool:
    numbers = fields.get(key)
    return isinstance(numbers, list) and any(isinstance(n, int) and n < 0 for n in numbers)


def _is_deeper(value: object, depth: int) -> bool:
    """Whether lists and objects are nested deeper. Level by level: recursion has a limit too."""
    level = [value]
    for _ in range(depth):
        inner: list[object] = []
        for each in level:
            if isinstance(each, Mapping):
                inner += each.values()
            elif isinstance(each, list | tuple):
                inner += each
        if not inner:
            return False
        level = inner
    return True
