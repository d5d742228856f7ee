"""What the rest of the agent knows of a run's log: bytes first go there, everybody reads it.

Offsets count bytes since the start of the run and never move, also when a quota has dropped
what stood at them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

__all__ = ("Chunk", "LogReader", "Missing", "RunLog", "Window")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes of the log. `offset` is where `data` starts: beyond what was asked if bytes are gone."""

    offset: int
    data: bytes

    @property
    def end(self) -> int:
        return self.offset + len(self.data)


@dataclass(frozen=True, slots=True)
class Missing:
    """How much of a log is not there any more: dropped by the quota, or never stored."""

    bytes: int = 0
    lines: int = 0
    """Line feeds among them."""


class LogReader(Protocol):
    """Reads a log by offset. Blocking, stateless, usable from any thread or process."""

    def size(self) -> int:
        """How many bytes the run has printed so far, dropped ones included."""
        ...

    def read(self, offset: int, limit: int) -> Chunk:
        """At most `limit` bytes from `offset` on; empty data when nothing is there yet.

        Where the quota dropped what stood at `offset`, the chunk starts at the next kept byte;
        it is empty and starts at the end of the log when all from `offset` on is gone.
        """
        ...

    def missing(self, before: int) -> Missing:
        """What stood before the offset `before` and is not there any more."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Head and tail of a log with a mark between them when something was left out."""

    text: str
    """UTF-8 with surrogate escapes for other bytes; NUL shown as U+2400."""
    size: int
    """Bytes the run printed."""
    left_out_bytes: int = 0
    left_out_lines: int = 0


class RunLog(Protocol):
    """The log of one run, written by its owner alone. On disk: `output.disk`; in memory: `output.memory`."""

    @property
    def folder(self) -> Path | None:
        """Where another process can read it (`output.disk.open_reader`), None in memory."""
        ...

    @property
    def size(self) -> int: ...

    @property
    def lost(self) -> int:
        """Bytes that were printed but could not be stored (a full disk); 0 as a rule."""
        ...

    @property
    def grew_at(self) -> float:
        """When bytes came last, in trio's time; minus infinity if none came since it was opened."""
        ...

    @property
    def ended(self) -> bool: ...

    def reader(self) -> LogReader: ...

    async def append(self, data: bytes) -> None:
        """Put bytes at the end. Never raises for a full disk: what does not fit counts as lost."""
        ...

    async def fill_from(self, fd: int) -> int:
        """Move what the non-blocking pipe `fd` holds now to the end; 0 when its writers are gone.

        Only after `fd` was readable. Bytes are spliced where the kernel can, so an agent killed
        here loses none. Runs in a thread: a stuck disk stops this run's output, not the agent.
        """
        ...

    async def wait_beyond(self, offset: int) -> int:
        """Wait until there are bytes beyond `offset`, or the log has ended; return the size."""
        ...

    def end(self) -> None:
        """Say that nothing more will come: waiters wake."""
        ...
