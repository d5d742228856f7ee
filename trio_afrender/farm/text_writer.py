"""Writes texts to the store, one batch at a time, in the order in which they were queued."""

from __future__ import annotations

from collections.abc import Callable

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

    async def run(self) -> None:
        """Store until cancelled. A batch that a thread has begun is finished."""
        while True:
            await self._work.wait()
            self._work = trio.Event()
            batch, self._queue = self._queue, []
            try:
                if self.store.in_memory:
                    await trio.lowlevel.checkpoint()
                    failures = self.store.write(batch)
                else:
                    failures = await trio.to_thread.run_sync(
                        self.store.write, batch, limiter=self._limiter
                    )
                for key, problem in failures:
                    self._failed(key, problem)
            finally:
                # Also for a batch that failed: sessions wait for it and would wait for ever.
                self._stored += len(batch)
                self._progress.set()
