"""Interfaces of a run's log. Output goes there first; everything that needs it reads it from there.

Offsets count bytes since the start of the run. They never change, even when a quota has dropped the
bytes before them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

__all__ = ("Chunk", "LogReader", "Missing", "RunLog", "Window")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes of the log. `offset` is where `data` starts: beyond the requested one if bytes are missing."""

    offset: int
    data: bytes

    @property
    def end(self) -> int:
        return self.offset + len(self.data)


@dataclass(frozen=True, slots=True)
class Missing:
    """How much of a log is missing: dropped by the quota, or never stored."""

    bytes: int = 0
    lines: int = 0
    """Line feeds among them."""


class LogReader(Protocol):
    """Reads a log by offset. Blocking, stateless, usable from any thread or process."""

    def size(self) -> int:
        """Return how many bytes the run has printed so far, missing ones included."""
        ...

    def read(self, offset: int, limit: int) -> Chunk:
        """Return at most `limit` bytes from `offset` on; empty data if there are none yet.

        If the byte at `offset` is missing, the chunk starts at the next one that is stored; if all from
        there on are missing, it is empty and starts at the end of the log.
        """
        ...

    def missing(self, before: int) -> Missing:
        """Return how much is missing before the offset `before`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Head and tail of a log, with a marker between them if something was left out."""

    text: str
    """UTF-8 with surrogate escapes for other bytes; NUL is shown as U+2400."""
    size: int
    """Bytes the run printed."""
    left_out_bytes: int = 0
    left_out_lines: int = 0


class RunLog(Protocol):
    """The log of one run: `supervised_log` or, in memory, `memory_log`."""

    @property
    def folder(self) -> Path | None:
        """The folder in which another process can read it (`segments.open_reader`); None in memory."""
        ...

    @property
    def size(self) -> int: ...

    @property
    def lost(self) -> int:
        """Bytes that were printed but could not be stored (a full disk); usually 0."""
        ...

    @property
    def grew_at(self) -> float:
        """When bytes last arrived, in trio's time; minus infinity if none did since it was opened."""
        ...

    @property
    def ended(self) -> bool: ...

    def reader(self) -> LogReader: ...

    async def wait_beyond(self, offset: int) -> int:
        """Wait until there are bytes beyond `offset` or the log has ended; return the size."""
        ...

    def end(self) -> None:
        """Mark the log as complete and wake all waiting tasks."""
        ...
