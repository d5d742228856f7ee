"""A run's log in memory, for tests under virtual time and for small outputs."""

from __future__ import annotations

from pathlib import Path

import trio

from trio_afrender.tasklog.interfaces import Chunk, Missing
from trio_afrender.tasklog.size_event import SizeEvent

__all__ = ("MemoryLog", "MemoryLogStore")


class MemoryLogStore:
    """Bytes to append to and to read as a log; is its own `LogReader`, for any thread."""

    def __init__(self) -> None:
        self._data = bytearray()

    def append(self, data: bytes) -> None:
        self._data += data

    def close_fd(self) -> None:
        """Do nothing: there is no descriptor."""

    def reader(self) -> MemoryLogStore:
        return self

    def size(self) -> int:
        return len(self._data)

    def read(self, offset: int, limit: int) -> Chunk:
        return Chunk(offset, bytes(self._data[offset : offset + limit]))

    def missing(self, before: int) -> Missing:
        """Return nothing: memory has no quota."""
        return Missing()


class MemoryLog:
    """A `RunLog` that keeps everything: use it only where the output is known to be small."""

    def __init__(self) -> None:
        self._store = MemoryLogStore()
        self._size_event = SizeEvent()

    @property
    def folder(self) -> Path | None:
        return None

    @property
    def size(self) -> int:
        return self._size_event.size

    @property
    def lost(self) -> int:
        return 0

    @property
    def grew_at(self) -> float:
        return self._size_event.grew_at

    @property
    def ended(self) -> bool:
        return self._size_event.ended

    def reader(self) -> MemoryLogStore:
        return self._store

    async def append(self, data: bytes) -> None:
        """Append bytes. Raises `trio.ClosedResourceError` after `end`."""
        await trio.lowlevel.checkpoint()
        if self.ended:
            raise trio.ClosedResourceError("the log has ended")
        self._store.append(data)
        self._size_event.grow(self._store.size())

    async def wait_beyond(self, offset: int) -> int:
        """Wait until there are bytes beyond `offset` or the log has ended; return the size."""
        return await self._size_event.wait_beyond(offset)

    def end(self) -> None:
        """Mark the log as complete and wake all waiting tasks."""
        self._size_event.end()
