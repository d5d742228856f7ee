"""The journal on disk: append records, make them durable in batches, compact the file.

One task writes, in a worker thread. All records that are queued at one moment share one fdatasync,
so that a tiny task does not cost one of its own. If the disk refuses a write, outcomes are sent
from memory, a warning is logged, and the whole journal is rewritten once the disk accepts it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import final

import trio

from trio_afrender.agent.journal_format import MAGIC, PendingState, read_records, replay
from trio_afrender.async_helpers import RepeatedEvent
from trio_afrender.errors import StoreError
from trio_afrender.safe_files import (
    open_regular,
    read_regular,
    replace_file,
    sync_folder,
    write_at,
)
from trio_afrender.tasklog.io_threads import work_in_thread

__all__ = ("MAX_SIZE", "DiskJournal", "open_journal")

logger: logging.Logger = logging.getLogger(__name__)

MAX_SIZE = 1024 * 1024 * 1024
"""Bytes of a journal that is read."""
COMPACT_AFTER = 4 * 1024 * 1024
"""Bytes appended since the last rewrite after which the journal is rewritten."""
DISK_RETRY_DELAY = 5.0
"""Seconds between two attempts to write to a disk that refuses."""
_BATCH_DELAY = 0.002
"""Seconds that records which nothing waits for are held for others: each write takes a thread."""
_WRITE_TIMEOUT = 5.0
"""Seconds that a start waits for its record, which takes milliseconds unless the disk is slow."""


@final
class DiskJournal:
    """A `Journal` in one file. Records reach the disk only while `run` runs."""

    def __init__(self, path: Path, held: PendingState, size: int, *, refused: bool = False) -> None:
        self.held = held
        """The state that an earlier agent left, as of the opening."""
        self.durable: int = 0
        self._path = path
        self._waiting: list[bytes] = []
        self._position = 0
        self._sync = False
        self._appended = 0
        self._size = size
        """Bytes of the file that are valid. An append writes there, not at the end of the file."""
        self._refused = refused
        """Whether the disk refuses: nothing is appended until a rewrite has succeeded."""
        self._queued = trio.Event()
        self._urgent = trio.Event()
        self._written = RepeatedEvent()

    def write(self, record: bytes, *, sync: bool = False) -> int:
        self._waiting.append(record)
        self._position += len(record)
        self._sync = self._sync or sync
        if self._refused:
            # Outcomes must not wait for a disk that refuses.
            self.durable = self._position
        self._queued.set()
        if sync:
            self._urgent.set()
        return self._position

    def write_now(self) -> None:
        if self._waiting:
            self._urgent.set()

    async def wait_written(self) -> None:
        position = self._position
        if self.durable >= position:
            return
        self._urgent.set()
        with trio.move_on_after(_WRITE_TIMEOUT):
            while self.durable < position and not self._refused:
                await self._written.wait()

    async def run(self, *, saved: Callable[[], None], now: Callable[[], PendingState]) -> None:
        """Write queued records until cancelled, and the last ones after the cancellation.

        `saved` is called after each write. `now` returns the state for a rewrite.
        """
        try:
            while True:
                await self._queued.wait()
                if not self._sync:
                    with trio.move_on_after(_BATCH_DELAY):
                        await self._urgent.wait()
                self._queued, self._urgent = trio.Event(), trio.Event()
                await self._write_queued(saved, now)
                if self._refused:
                    await trio.sleep(DISK_RETRY_DELAY)
                    self._queued.set()
        finally:
            with trio.move_on_after(DISK_RETRY_DELAY, shield=True):
                await self._write_queued(saved, now)

    async def _write_queued(
        self, saved: Callable[[], None], now: Callable[[], PendingState]
    ) -> None:
        # Everything that is taken here is written by one call in a thread. Records that are queued
        # meanwhile wait for the next call and its sync.
        data, self._waiting = b"".join(self._waiting), []
        position, sync, self._sync = self._position, self._sync, False
        if not data and not self._refused:
            return
        try:
            if self._refused or self._appended + len(data) > COMPACT_AFTER:
                # `now` already includes what `data` records.
                whole = MAGIC + b"".join(now().records())
                await work_in_thread(partial(_rewrite, self._path, whole))
                self._size, self._appended = len(whole), 0
                if self._refused:
                    logger.info("the journal %s is written again", self._path)
                self._refused = False
            else:
                await work_in_thread(partial(_append, self._path, self._size, data, sync=sync))
                self._size += len(data)
                self._appended += len(data)
        except trio.Cancelled:
            # Only raised before the thread starts, so nothing of `data` is on disk. The last call
            # of `run` writes it.
            self._waiting.insert(0, data)
            self._sync = sync or self._sync  # an outcome may have come meanwhile
            raise
        except (OSError, MemoryError) as error:
            # `data` may be lost: the next write is that of the whole state.
            if not self._refused:
                logger.warning(
                    "the journal %s cannot be written: %s; results are sent, but would be lost"
                    " if the agent were killed",
                    self._path,
                    getattr(error, "strerror", None) or repr(error),
                )
            self._refused = True
        self.durable = max(position, self.durable)
        self._written.set()
        saved()


def open_journal(path: Path) -> DiskJournal:
    """Read the journal at `path`, or create it. Blocks.

    A torn record at the end is removed by a rewrite. Raises `StoreError`, also for the journal of
    another version.
    """
    data = b""
    try:
        data = read_regular(path, MAX_SIZE)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StoreError.of(path, error) from error
    if data and not MAGIC.startswith(data[: len(MAGIC)]):
        raise StoreError(
            path,
            "is the journal of another version; let that version deliver its results, or remove it",
        )
    held = replay(read_records(data))
    whole = MAGIC + b"".join(held.records())
    if whole != data:
        try:
            _rewrite(path, whole)
        except OSError as error:
            # The old file has the same state, but nothing may be appended to it. It may lack the
            # first line, and after a torn record it may contain whole ones, which an append that
            # replaces the torn one would make readable again.
            logger.warning("the journal %s cannot be compacted: %s", path, error)
            return DiskJournal(path, held, 0, refused=True)
    return DiskJournal(path, held, len(whole))


def _append(path: Path, size: int, data: bytes, *, sync: bool) -> None:
    """Write `data` after the first `size` bytes of the file."""
    handle = open_regular(path, os.O_WRONLY | os.O_CREAT)
    try:
        view = memoryview(data)
        # pwrite at an explicit position overwrites the rest of an append that failed half way
        # (test_writing_continues_after_a_torn_record).
        while view:
            count = write_at(handle, view, size)
            view, size = view[count:], size + count
        if sync:
            os.fdatasync(handle) if hasattr(os, "fdatasync") else os.fsync(handle)
    finally:
        os.close(handle)


def _rewrite(path: Path, data: bytes) -> None:
    """Replace the journal atomically: at any moment the old or the new one is complete on disk."""
    new = path.with_name(f"{path.name}.new")
    with suppress(FileNotFoundError):
        new.unlink()
    _append(new, 0, data, sync=True)
    replace_file(new, path)
    # Without the sync of the folder the rename may be lost with the power.
    sync_folder(path.parent)
