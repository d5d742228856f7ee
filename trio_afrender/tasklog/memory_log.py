"""A run's log in memory: for tests under virtual time, and for what is small."""

from __future__ import annotations

import os
from pathlib import Path

import trio

from trio_afrender.tasklog.interfaces import Chunk, Missing
from trio_afrender.tasklog.pipes import wait_for_bytes
from trio_afrender.tasklog.size_event import SizeEvent

__all__ = ("MemoryLog", "MemoryLogStore")

_CHUNK = 1024 * 1024


class MemoryLogStore:
    """Bytes that can be appended and read as a log: its own `LogReader`, for any thread."""

    def __init__(self) -> None:
        self._data = bytearray()

    def append(self, data: bytes) -> None:
        self._data += data

    def close_fd(self) -> None:
        """Nothing: there is no descriptor to give back."""

    def reader(self) -> MemoryLogStore:
        return self

    def size(self) -> int:
        return len(self._data)

    def read(self, offset: int, limit: int) -> Chunk:
        return Chunk(offset, bytes(self._data[offset : offset + limit]))

    def missing(self, before: int) -> Missing:
        """Nothing ever is."""
        return Missing()


class MemoryLog:
    """A `RunLog` that keeps everything; its size is the caller's business."""

    def __init__(self) -> None:
        self._store = MemoryLogStore()
        self._growth = SizeEvent()

    @property
    def folder(self) -> Path | None:
        return None

    @property
    def size(self) -> int:
        return self._growth.size

    @property
    def lost(self) -> int:
        return 0

    @property
    def grew_at(self) -> float:
        return self._growth.grew_at

    @property
    def ended(self) -> bool:
        return self._growth.ended

    def reader(self) -> MemoryLogStore:
        return self._store

    async def append(self, data: bytes) -> None:
        """Put bytes at the end. Raises `trio.ClosedResourceError` after the end."""
        await trio.lowlevel.checkpoint()
        self._put(data)

    async def fill_from(self, fd: int) -> int:
        """Move what the pipe holds, as `RunLog.fill_from`; after the end as `append`."""
        while True:
            await trio.lowlevel.checkpoint()
            if self.ended:
                raise trio.ClosedResourceError("the log has ended")
            if not await wait_for_bytes(fd):
                return 0
            try:
                data = os.read(fd, _CHUNK)
            except BlockingIOError:
                continue  # somebody else took them
            self._put(data)
            return len(data)

    async def wait_beyond(self, offset: int) -> int:
        """Wait until there are bytes beyond `offset`, or the end; return the size."""
        return await self._growth.wait_beyond(offset)

    def end(self) -> None:
        """Say that nothing more will come: waiters wake."""
        self._growth.end()

    def _put(self, data: bytes) -> None:
        if self.ended:
            raise trio.ClosedResourceError("the log has ended")
        self._store.append(data)
        self._growth.grow(self._store.size())
