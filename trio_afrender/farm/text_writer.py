"""Writes texts to the store, one batch at a time, in the order in which they were queued."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from trio_afrender.async_helpers import RepeatedEvent
from trio_afrender.farm.state import Write
from trio_afrender.farm.store import FarmStore
from trio_afrender.protocol.messages import TaskKey

__all__ = ("TextWriter",)

_THREADS = 4
"""Calls of the store at once: one that writes, others that read."""


class TextWriter:
    """A queue in front of a store. `failed` is called with each task whose text was not stored.

    The queue needs no limit: a session waits until its texts are stored before it acknowledges the
    update they came with, so the number of sessions bounds it.
    """

    def __init__(self, store: FarmStore, failed: Callable[[TaskKey, str], None]) -> None:
        self.store = store
        self._failed = failed
        self._limiter = trio.CapacityLimiter(_THREADS)
        self._queue: list[Write] = []
        self._queued = 0
        self._stored = 0
        self._work = trio.Event()
        self._progress = RepeatedEvent()
        # Shielded: a cancelled farm still stores what is queued
        # (test_texts_queued_at_the_end_are_stored).
        self._running = trio.CancelScope(shield=True)

    def put(self, writes: list[Write]) -> None:
        """Queue writes; does not wait."""
        if writes:
            self._queue += writes
            self._queued += len(writes)
            self._work.set()

    async def settled(self) -> None:
        """Wait until everything queued so far is stored or has failed."""
        ticket = self._queued
        while self._stored < ticket:
            await self._progress.wait()
        await trio.lowlevel.checkpoint()

    async def read_output(self, key: TaskKey, attempt: int) -> str:
        """The stored output of an attempt."""
        if self.store.in_memory:
            await trio.lowlevel.checkpoint()
            return self.store.output(key, attempt)
        return await trio.to_thread.run_sync(self.store.output, key, attempt, limiter=self._limiter)

    def stop(self) -> None:
        """End `run`. A batch that a thread has begun is finished."""
        self._running.cancel()

    async def run(self) -> None:
        """Store until `stop`, also when cancelled."""
        with self._running:
            while True:
                await self._work.wait()
                self._work = trio.Event()
                batch, self._queue = self._queue, []
                try:
                    for key, problem in await self._store(batch):
                        self._failed(key, problem)
                finally:
                    # Also for a batch that failed: sessions wait for it and would wait for ever.
                    self._stored += len(batch)
                    self._progress.set()

    async def _store(self, batch: list[Write]) -> Sequence[tuple[TaskKey, str]]:
        if self.store.in_memory:
            await trio.lowlevel.checkpoint()
            return self.store.write(batch)
        return await trio.to_thread.run_sync(self.store.write, batch, limiter=self._limiter)
