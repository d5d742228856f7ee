"""Figures of processes, read in threads: a look at one that hangs costs its own answer alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import final

import trio

from trio_afrender.hostinfo.process_usage import GpuShare, ProcessUsage, UsageReader

__all__ = ("ThreadedUsageReader",)

LARGEST_COUNT = 10
"""Rows of a table of the largest processes."""
READ_TIMEOUT = 2.0
"""Seconds after which a look is given up: the run has no new figures this time."""


@final
class ThreadedUsageReader:
    """A `Gauge` over a reader that blocks; `shares` tells what the cards' sampler saw last."""

    def __init__(
        self,
        reader: UsageReader,
        shares: Callable[[], Mapping[int, GpuShare]] = dict,
    ) -> None:
        self._reader = reader
        self.shares = shares
        self._threads = trio.CapacityLimiter(4)

    async def read(self, pids: Collection[int]) -> tuple[ProcessUsage, ...]:
        return await self._look(partial(self._reader.read, frozenset(pids)))

    async def largest(self) -> tuple[ProcessUsage, ...]:
        return await self._look(partial(self._reader.largest, LARGEST_COUNT))

    async def _look(self, look: Callable[[], tuple[ProcessUsage, ...]]) -> tuple[ProcessUsage, ...]:
        with trio.move_on_after(READ_TIMEOUT):
            return await trio.to_thread.run_sync(
                look,
                limiter=self._threads,
                abandon_on_cancel=True,  # it only looks
            )
        return ()

    def read_usage_now(self, pid: int) -> ProcessUsage | None:
        return self._reader.read_usage_now(pid)
