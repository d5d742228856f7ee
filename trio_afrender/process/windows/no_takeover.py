"""What an agent on Windows finds of the one before it: nothing, because trees end with their agent.

The functions have the names and the parameters of those for Unix, so that `tree_holder` can choose.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import psutil
import trio

__all__ = (
    "find_task_supervisors",
    "has_record",
    "kill_leftovers",
    "stop_trees",
    "wait_gone",
)

POLL_INTERVAL = 0.05
"""Seconds between two looks for a process."""


def has_record(record: str) -> bool:
    """Return False: no tree outlives its agent."""
    return False


def find_task_supervisors(folder: Path) -> tuple[int, ...]:
    """Return (): there are none."""
    return ()


def stop_trees(folder: Path, deadline: float) -> bool:
    """Return True: the kernel has ended the trees of an agent that ended, with its handles of their jobs."""
    return True


async def kill_leftovers(
    prefix: str, grace: float, deadline: float, *, spared: Collection[int] = ()
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Find nothing, as `stop_trees`."""
    await trio.lowlevel.checkpoint()
    return (), ()


async def wait_gone(pids: Collection[int]) -> None:
    """Wait until processes, found a moment ago, have ended."""
    await trio.lowlevel.checkpoint()
    for pid in pids:
        while psutil.pid_exists(pid):  # noqa: ASYNC110 - no handle of it is open
            await trio.sleep(POLL_INTERVAL)
