"""The journal on disk: appended by one task in threads, made durable together, compacted.

What waits at one moment shares one sync, so tiny tasks do not pay for one each. When the disk
refuses, outcomes go out from memory, the log says so, and the whole journal is written anew as
soon as the disk takes it.
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
from trio_afrender.errors import StoreError
from trio_afrender.tasklog.io_threads import work_in_thread

__all__ = ("DiskJournal", "open_journal")

logger = logging.getLogger(__name__)

COMPACT_AFTER = 4 * 1024 * 1024
"""Bytes appended since it was compact after which the journal is written anew."""
DISK_RETRY_DELAY = 5.0
"""Seconds until a disk that refused is tried again."""


@final
class DiskJournal:
    """A `Journal` in one file. `run` must be running for anything to get there."""

    def __init__(self, path: Path, held: PendingState, size: int, *, refused: bool = False) -> None:
        self.held = held
        """What an earlier agent left; as of the opening."""
        self.durable = 0
        self._path = path
        self._waiting: list[bytes] = []
        self._position = 0
        self._sync = False
        self._appended = 0
        self._size = size
        self._refused = refused
        self._news = trio.Event()

    def write(self, record: bytes, *, sync: bool = False) -> int:
        self._waiting.append(record)
        self._position += len(record)
        self._sync = self._sync or sync
        if self._refused:
            self.durable = self._position  # nothing waits for a disk that takes nothing
        self._news.set()
        return self._position

    async def run(self, *, saved: Callable[[], None], now: Callable[[], PendingState]) -> None:
        """Bring records to disk until cancelled; then once more. `saved` is called after each
        step, `now` gives what a compact journal has to say."""
        try:
            while True:
                await self._news.wait()
                self._news = trio.Event()
                await self._step(saved, now)
                if self._refused:
                    await trio.sleep(DISK_RETRY_DELAY)
                    self._news.set()
        finally:
            with trio.move_on_after(DISK_RETRY_DELAY, shield=True):
                await self._step(saved, now)

    async def _step(self, saved: Callable[[], None], now: Callable[[], PendingState]) -> None:
        data, self._waiting = b"".join(self._waiting), []
        position, sync, self._sync = self._position, self._sync, False
        if not data and not self._refused:
            return
        try:
            if self._refused or self._appended + len(data) > COMPACT_AFTER:
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
        except trio.Cancelled:  # before the thread began, so none of it is written
            self._waiting.insert(0, data)
            self._sync = sync
            raise
        except OSError as error:
            if not self._refused:
                logger.warning(
                    "the journal %s cannot be written: %s; results go out, but would not outlive"
                    " the agent",
                    self._path,
                    error.strerror or error,
                )
            self._refused = True
        self.durable = max(position, self.durable)
        saved()


def open_journal(path: Path) -> DiskJournal:
    """Read the journal, or begin one. Blocks. Raises `StoreError`, also for a newer version's.

    A torn tail is left out, and what is left is written anew at once.
    """
    data = b""
    with suppress(FileNotFoundError):
        data = _read(path)
    if data and not MAGIC.startswith(data[: len(MAGIC)]):
        raise StoreError(
            path,
            "is the journal of another version; let that version deliver its results, or remove it",
        )
    messages, _ = read_records(data)
    held = replay(messages)
    whole = MAGIC + b"".join(held.records())
    if whole != data:
        try:
            _rewrite(path, whole)
        except OSError as error:
            # The old one says the same, but nothing may be appended to it: there may be no first
            # line yet, and behind a torn record whole ones that must not come back.
            logger.warning("the journal %s cannot be made compact: %s", path, error)
            return DiskJournal(path, held, 0, refused=True)
    return DiskJournal(path, held, len(whole))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError.of(path, error) from error


def _append(path: Path, size: int, data: bytes, *, sync: bool) -> None:
    """Put `data` behind the first `size` bytes: what a failed append left there is written over."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        view = memoryview(data)
        while view:
            count = os.pwrite(handle, view, size)
            view, size = view[count:], size + count
        if sync:
            os.fdatasync(handle) if hasattr(os, "fdatasync") else os.fsync(handle)
    finally:
        os.close(handle)


def _rewrite(path: Path, data: bytes) -> None:
    """Replace the journal as a whole: at no moment is there less than one of the two."""
    fresh = path.with_name(f"{path.name}.new")
    with suppress(FileNotFoundError):
        fresh.unlink()
    _append(fresh, 0, data, sync=True)
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
