"""Writes texts to the store, and records to the database, one batch at a time.

Texts of a task come before its record: a record that says "done" must not be there without its
output. A job that is gone leaves the database before its texts.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import trio

from trio_afrender.async_helpers import RepeatedEvent
from trio_afrender.errors import StoreError
from trio_afrender.farm.database import RecordRows
from trio_afrender.farm.record_batches import RecordBatches
from trio_afrender.farm.state import Removal, Write
from trio_afrender.farm.store import FarmStore
from trio_afrender.protocol.messages import TaskKey
from trio_afrender.tasklog.io_threads import call_in_thread

__all__ = ("TextWriter",)

_log = logging.getLogger(__name__)

_THREADS = 4
"""Calls of the store at once: one that writes, others that read."""

_T = TypeVar("_T")


class TextWriter:
    """A queue in front of a store. `failed` is called with each task whose text was not stored.

    With `batches` each batch also writes the records that have changed until then.

    The queue needs no limit: a session waits until its texts are stored before it acknowledges the
    update they came with, so the number of sessions bounds it.
    """

    def __init__(
        self,
        store: FarmStore,
        failed: Callable[[TaskKey, str], None],
        batches: RecordBatches | None = None,
    ) -> None:
        self.store = store
        self._failed = failed
        self._batches = batches
        self._limiter = trio.CapacityLimiter(_THREADS)
        self._queue: list[Write] = []
        self._queued = 0
        self._stored = 0
        self._work = trio.Event()
        self._progress = RepeatedEvent()
        # Shielded: a cancelled farm still stores what is queued
        # (test_texts_queued_at_the_end_are_stored).
        self._running = trio.CancelScope(shield=True)

    def put(self, writes: list[Write], *, records: bool = False) -> None:
        """Queue writes; with `records`, have the database written. Does not wait."""
        if writes or records:
            self._queue += writes
            self._queued += 1
            self._work.set()

    async def settled(self) -> None:
        """Wait until everything queued so far is stored or has failed."""
        ticket = self._queued
        while self._stored < ticket:
            await self._progress.wait()
        await trio.lowlevel.checkpoint()

    async def read_log(self, key: TaskKey) -> str:
        """The stored log of a task. Raises OSError where the host has no thread for it."""
        if self.store.in_memory:
            await trio.lowlevel.checkpoint()
            return self.store.log(key)
        return await call_in_thread(partial(self.store.log, key), limiter=self._limiter)

    async def read_output(self, key: TaskKey, attempt: int) -> str:
        """The stored output of an attempt. Raises as `read_log`."""
        if self.store.in_memory:
            await trio.lowlevel.checkpoint()
            return self.store.output(key, attempt)
        return await call_in_thread(partial(self.store.output, key, attempt), limiter=self._limiter)

    def stop(self) -> None:
        """End `run`. A batch that a thread has begun is finished."""
        self._running.cancel()

    async def run(self) -> None:
        """Store until `stop`, also when cancelled."""
        with self._running:
            while True:
                with trio.move_on_after(self._batches.retry_after if self._batches else math.inf):
                    await self._work.wait()
                self._work = trio.Event()
                batch, self._queue = self._queue, []
                queued = self._queued
                try:
                    await self._write_batch(batch)
                finally:
                    # Also for a batch that failed: sessions wait for it and would wait for ever.
                    self._stored = queued
                    self._progress.set()

    async def _write_batch(self, batch: list[Write]) -> None:
        batches = self._batches
        if self.store.in_memory:
            await trio.lowlevel.checkpoint()
            failed = self.store.write(batch)
        elif batches is None:
            failed = await self._call(partial(self.store.write, batch))
        else:
            failed, error = await self._call(
                partial(self._write_all, batches, batch, batches.take())
            )
            if error is None:
                batches.written()
            else:
                # The jobs may still be in the database: their texts stay until they are not.
                self._queue = [each for each in batch if isinstance(each, Removal)] + self._queue
                batches.failed(error)
        for key, problem in failed:
            self._failed(key, problem)

    async def _call(self, work: Callable[[], _T]) -> _T:
        """Call the store in a thread, as soon as the host has one: the texts exist nowhere else."""
        waits = False
        while True:
            try:
                result = await call_in_thread(work, limiter=self._limiter)
            except OSError as error:
                if not waits:
                    why = error.strerror or error
                    _log.error("texts and records are not stored, tried again: %s", why)
                waits = True
            else:
                if waits:
                    _log.warning("texts and records are stored again")
                return result

    def _write_all(
        self, batches: RecordBatches, batch: list[Write], rows: RecordRows
    ) -> tuple[list[tuple[TaskKey, str]], StoreError | None]:
        removals = [write for write in batch if isinstance(write, Removal)]
        gone = {write.key.job for write in removals}
        failed = self.store.write(write for write in batch if write.key.job not in gone)
        try:
            batches.write(rows)
            if removals:
                failed += self.store.write(removals)
                batches.forget_removed(gone)
        except StoreError as error:
            return failed, error
        return failed, None
