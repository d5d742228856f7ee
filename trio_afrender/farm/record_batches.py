"""Has the database written in batches: takes what has changed, and keeps what could not be written."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from trio_afrender.errors import StoreError
from trio_afrender.farm.database import DamagedRecords, Database, RecordRows
from trio_afrender.farm.record_rows import make_rows, restore
from trio_afrender.farm.state import FarmState
from trio_afrender.farm.unstored import ChangedRecords
from trio_afrender.tasklog.io_threads import call_in_thread

__all__ = ("RecordBatches", "open_records")

_log = logging.getLogger(__name__)

_RETRY = 5.0
"""Seconds after which a failed batch is written again, if nothing else is written before."""


@asynccontextmanager
async def open_records(
    folder: Path, make_state: Callable[[], FarmState], *, move_damaged: bool
) -> AsyncIterator[tuple[FarmState, RecordBatches]]:
    """Open the database of a farm's folder, and make the farm's state of what it holds.

    A damaged one is an error, unless `move_damaged` is set. Raises `StoreError`, and `OSError` on a
    host that has no thread.
    """
    database = Database(folder)
    now = trio.current_time()

    def fill() -> FarmState:
        state = make_state()
        restore(state, database.open(), now)
        return state

    def fill_or_begin() -> FarmState:
        try:
            return fill()
        except DamagedRecords as error:
            if not move_damaged:
                raise
            _log.error("%s: kept as %s", error, database.move_away(time.time()))
            return fill()

    try:
        state = await call_in_thread(fill_or_begin)
        yield state, RecordBatches(state, database, trio.current_time)
    finally:
        # Also when cancelled: SQLite then writes the last batches into the file itself.
        with trio.CancelScope(shield=True):
            try:
                await call_in_thread(database.close)
            except OSError:  # the host has no thread left: the loop waits for this one
                database.close()


class RecordBatches:
    """Between one farm and its database. `take`, `written` and `failed` are for the farm's thread."""

    def __init__(self, state: FarmState, database: Database, clock: Callable[[], float]) -> None:
        self._state = state
        self._database = database
        self._clock = clock
        self._taken = ChangedRecords()
        self._failing = False

    def take(self) -> RecordRows:
        """The rows of what has changed since the last call."""
        self._taken = self._state.unstored.take()
        return make_rows(self._state, self._taken, self._clock())

    def write(self, rows: RecordRows) -> None:
        """Write rows. Blocking. Raises `StoreError`."""
        self._database.write(rows)

    def forget_removed(self, jobs: Iterable[int]) -> None:
        """Note that the texts of deleted jobs are gone. Blocking. Raises `StoreError`."""
        self._database.forget_removed(jobs)

    @property
    def retry_after(self) -> float:
        """Seconds after which the next batch is due, also if nothing has changed until then."""
        return _RETRY if self._failing else math.inf

    def written(self) -> None:
        """Note that the rows taken last are in the database."""
        self._taken = ChangedRecords()
        if self._failing:
            self._failing = False
            _log.warning("records are stored again")

    def failed(self, error: StoreError) -> None:
        """Have the rows taken last written again with the next batch."""
        if not self._failing:
            self._failing = True
            _log.error("records are not stored, tried again every %.0f s: %s", _RETRY, error)
        self._state.unstored.put_back(self._taken)
        self._taken = ChangedRecords()
