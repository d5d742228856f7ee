"""What an agent on Windows finds of the one before it: no trees, because they end with their agent.

Processes that a task had made outside of its job may be left, if the agent was killed. The functions have
the names and the parameters of those for Unix, so that `tree_holder` can choose.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import trio

from trio_afrender.process.windows.marked_processes import MarkedProcesses
from trio_afrender.tasklog.io_threads import call_in_thread

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
    """End the processes whose ``AF_TASK_TOKEN`` begins with `prefix`. `grace` and `spared` have no effect.

    Returns the pids that were found, and those that are left after `deadline` seconds.
    """
    marked = MarkedProcesses()
    find = partial(marked.find, prefix)
    met: set[int] = set()
    left = await call_in_thread(find)
    with trio.move_on_after(deadline):
        while left:
            met |= {process.pid for process in left}
            for process in left:
                with suppress(psutil.Error):
                    process.kill()
            await trio.sleep(POLL_INTERVAL)
            left = await call_in_thread(find)
    return tuple(sorted(met)), tuple(sorted(process.pid for process in left))


async def wait_gone(pids: Collection[int]) -> None:
    """Wait until processes, found a moment ago, have ended."""
    await trio.lowlevel.checkpoint()
    for pid in pids:
        while psutil.pid_exists(pid):  # noqa: ASYNC110 - no handle of it is open
            await trio.sleep(POLL_INTERVAL)
