"""Process table shared by all trees, refreshed at most every `MAX_AGE` seconds.

Entries may be stale: use it for usage figures, never to pick a process to signal. A refresh reads new
processes, and those whose parent has ended. To read all of them each time would take more time on a
host with a thousand processes than everything else in the agent.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeAlias, final

import psutil
import trio

from trio_afrender.process.procfs import ProcessFacts, read_facts, scan

__all__ = ("Facts", "ProcessTable", "list_pids")

Facts: TypeAlias = Mapping[int, ProcessFacts]

MAX_AGE = 0.5
"""Seconds for which the table is used again. Usage is measured every few seconds."""
FULL_SCAN_INTERVAL = 60.0
"""Seconds after which all processes are read again: a number may have been given to another."""


def list_pids() -> Iterable[int]:
    """The numbers of all processes that we may see."""
    if Path("/proc/self/stat").exists():
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - four times faster
    return psutil.pids()


@final
class ProcessTable:
    """The processes of the host by their pids, shared by the trees of one loop."""

    def __init__(
        self,
        threads: trio.CapacityLimiter,
        *,
        read_all: Callable[[], Facts] = scan,
        read_pids: Callable[[], Iterable[int]] = list_pids,
        read_one: Callable[[int], ProcessFacts | None] = read_facts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._threads = threads
        self._read_all = read_all
        self._read_pids = read_pids
        self._read_one = read_one
        self._clock = clock
        self._turn = trio.Lock()
        self._time = -math.inf
        self._due = -math.inf
        self._facts: Facts = {}

    async def read(self) -> Facts:
        """Return the processes as of at most `MAX_AGE` seconds ago. Raises `OSError` when unreadable."""
        async with self._turn:  # the first looks, the others find it done
            if trio.current_time() - self._time > MAX_AGE:
                self._facts = await trio.to_thread.run_sync(self._renew, limiter=self._threads)
                self._time = trio.current_time()
            return self._facts

    def _renew(self) -> Facts:
        now = self._clock()
        if now >= self._due:
            facts = self._read_all()
            self._due = now + FULL_SCAN_INTERVAL
            return facts
        pids = set(self._read_pids())
        kept = {
            pid: facts
            for pid, facts in self._facts.items()
            if pid in pids and (facts.parent in pids or not facts.parent)
        }
        found = ((pid, self._read_one(pid)) for pid in pids - kept.keys())
        return kept | {pid: facts for pid, facts in found if facts is not None}
