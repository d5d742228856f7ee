"""One timer, and one call of the usage reader, for all runs that measure at the same moment.

Each call takes a thread. With a thousand quiet tasks, whose measurements are due together, a thread
for each would take longer than the reading, and a timer of trio for each as long as all else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TypeAlias

import attrs
import trio

from trio_afrender.hostinfo.process_usage import ProcessUsage

__all__ = ("UsageBatches",)

MAX_PIDS = 200
"""Processes from which on a batch takes no more runs: a reading of that many takes about 10 ms."""

_Read: TypeAlias = Callable[[Collection[int]], Awaitable[tuple[ProcessUsage, ...]]]


@attrs.define(eq=False)
class _Batch:
    pids: set[int]
    found: Mapping[int, ProcessUsage] = attrs.field(factory=dict)
    """By pid: with a search for each run the time would grow with their square."""
    done: trio.Event = attrs.field(factory=trio.Event)


class UsageBatches:
    """Joins the calls of `read` that are made in the same turn of trio's scheduler."""

    def __init__(self, read: _Read) -> None:
        self._read = read
        self._open: _Batch | None = None
        self._waiting: dict[float, trio.lowlevel.ParkingLot] = {}
        """By moment, the tasks that wait for another one's timer."""

    async def sleep_until(self, moment: float) -> None:
        """Sleep until `moment`, in trio's time. The first task that waits for it has the timer."""
        others = self._waiting.get(moment)
        if others is None:
            others = self._waiting[moment] = trio.lowlevel.ParkingLot()
        else:
            await others.park()
            if trio.current_time() >= moment:
                return
        try:
            await trio.sleep_until(moment)
        finally:
            if trio.current_time() >= moment:
                self._waiting.pop(moment, None)
                others.unpark_all()
            elif others:  # cancelled: the next one has the timer now
                others.unpark()
            else:
                del self._waiting[moment]

    async def read(self, pids: Collection[int]) -> tuple[ProcessUsage, ...]:
        """Return the usage of those that exist, as the reader does; () when it takes too long."""
        batch = self._open
        if batch is not None and len(batch.pids) < MAX_PIDS:
            batch.pids.update(pids)
            await batch.done.wait()
        else:
            batch = self._open = _Batch(set(pids))
            try:
                # All that wake up at the same moment run before this continues.
                await trio.lowlevel.checkpoint()
                self._close(batch)
                found = await self._read(frozenset(batch.pids))
                batch.found = {usage.pid: usage for usage in found}
            finally:
                self._close(batch)
                batch.done.set()
        if not batch.found and len(batch.pids) > len(pids):
            # A process of another run may hang and hold up its reading, or that run was cancelled.
            return await self._read(pids)
        return tuple(batch.found[pid] for pid in pids if pid in batch.found)

    def _close(self, batch: _Batch) -> None:
        if self._open is batch:
            self._open = None
