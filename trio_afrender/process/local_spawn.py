"""Where trees come from: the one way in for the rest of the agent."""

from __future__ import annotations

import sys

import trio

from trio_afrender.errors import SpawnError
from trio_afrender.process.interfaces import Launch, ProcessTree, Spawn

__all__ = ("become_subreaper", "make_spawn")


def make_spawn(*, subreaper: bool = False) -> Spawn:
    """Make the function that starts trees on this platform.

    A program of our own says `make_spawn(subreaper=become_subreaper())`: then whatever a task leaves
    behind comes to this process, and the end of a tree can be proven. Raises `SpawnError` on Windows, where trees would
    need a job object, which this version does not have.
    """
    if sys.platform == "win32":
        raise SpawnError("tasks cannot be started on Windows: this version runs on Linux and macOS")
    from trio_afrender.process.launch_errors import launch_process
    from trio_afrender.process.process_snapshot import ProcessTable

    # Its own, small limiter: a slow disk under a program to be found, or a look at all
    # processes, must not use up the threads in which others are spawned.
    threads = trio.CapacityLimiter(2)
    table = ProcessTable(threads)

    async def spawn(launch: Launch) -> ProcessTree:
        return await launch_process(launch, subreaper=subreaper, threads=threads, table=table)

    return spawn


def become_subreaper() -> bool:
    """Let this process adopt the orphans of its descendants until it ends; False if it cannot.

    For programs of our own, before they start tasks: it is process-wide. Linux only.
    """
    if sys.platform != "linux":
        return False
    from trio_afrender.process import orphans

    return orphans.become_subreaper()
