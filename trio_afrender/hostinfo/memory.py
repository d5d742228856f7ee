"""Memory of the host: all its figures for reports, and the headroom for the memory guard.

Where control groups limit this process, their limits replace the machine's figures.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

import attrs
import psutil
import trio

from trio_afrender.errors import is_exhausted
from trio_afrender.hostinfo.cgroup_limits import CgroupLimits, CgroupReader, read_small

__all__ = (
    "MemoryFigures",
    "MemoryHeadroom",
    "ReadHeadroom",
    "RecentHeadroom",
    "make_headroom_reader",
    "read_memory",
)

logger: logging.Logger = logging.getLogger(__name__)

_SWAP = re.compile(rb"^Swap(Total|Free): +(\d+) kB$", re.MULTILINE)
_KILLS = re.compile(rb"^oom_kill (\d+)$", re.MULTILINE)


@attrs.frozen(slots=True, kw_only=True)
class MemoryFigures:
    """Sizes in bytes."""

    total: int
    available: int
    """What programs can still allocate without swapping."""
    cached: int = 0
    buffers: int = 0
    swap_total: int = 0
    swap_used: int = 0
    oom_kills: int = 0
    """Out-of-memory kills since the kernel or the control group started."""


def read_memory(limits: CgroupLimits) -> MemoryFigures:
    """Read the kernel's figures. `limits` are those of `CgroupReader.read`; the tighter count."""
    machine = psutil.virtual_memory()
    # psutil also parses all of /proc/vmstat for the swap, so it is the second choice.
    swap = dict(_SWAP.findall(read_small("/proc/meminfo")))
    if len(swap) == 2:
        swap_total = int(swap[b"Total"]) * 1024
        swap_used = swap_total - int(swap[b"Free"]) * 1024
    else:
        swap_total = swap_used = 0
        with suppress(OSError, RuntimeError):  # some containers have no /proc/vmstat
            found = psutil.swap_memory()
            swap_total, swap_used = found.total, found.used
    counted = _KILLS.search(read_small("/proc/vmstat"))
    kills = int(counted[1]) if counted is not None else 0
    cached = getattr(machine, "cached", 0)
    total, available = machine.total, machine.available
    if limits.memory is not None and limits.memory < total:
        total, available = limits.memory, min(available, limits.memory_left)
        cached, kills = min(cached, limits.cached), limits.oom_kills
    if limits.swap is not None and limits.swap < swap_total:
        swap_total, swap_used = limits.swap, min(limits.swap_used, limits.swap)
    return MemoryFigures(
        total=total,
        available=available,
        cached=cached,
        buffers=min(getattr(machine, "buffers", 0), total),
        swap_total=swap_total,
        swap_used=swap_used,
        oom_kills=kills,
    )


@attrs.frozen(slots=True, kw_only=True)
class MemoryHeadroom:
    """The part of `MemoryFigures` that the memory guard needs."""

    available: int
    total: int
    oom_kills: int = 0
    known: bool = True
    """False: the kernel has never answered, and the figures are without meaning."""


ReadHeadroom: TypeAlias = Callable[[], MemoryHeadroom]
"""Reads the headroom now. Takes microseconds: it reads files of the kernel, no disk."""


MAX_AGE = 0.1
"""Seconds for which `RecentHeadroom` shares a reading."""


_UNKNOWN = MemoryHeadroom(available=sys.maxsize, total=sys.maxsize, known=False)


class RecentHeadroom:
    """Shares a reading among all that look at the same moment: one takes about 0.5 ms."""

    def __init__(self, read: ReadHeadroom) -> None:
        self._read = read
        self._last: MemoryHeadroom | None = None
        self._read_at = 0.0
        self._failed = False

    def read(self) -> MemoryHeadroom:
        """Read the headroom now. While the kernel refuses that, the reading before it counts.

        Raises `OSError` where this host has too little for a reading (`errors.is_exhausted`).
        """
        try:
            self._last = self._read()
            self._failed = False
        except OSError as error:
            if is_exhausted(error):
                raise
            if not self._failed:
                logger.warning("cannot read the host's memory: %s", error)
            self._failed = True
            # No task may be stopped for a shortage that was never measured.
            self._last = self._last or _UNKNOWN
        self._read_at = trio.current_time()
        return self._last

    def recent(self) -> MemoryHeadroom:
        """Return a reading that is at most `MAX_AGE` seconds old."""
        if self._last is None or trio.current_time() - self._read_at > MAX_AGE:
            return self.read()
        return self._last


def make_headroom_reader() -> ReadHeadroom:
    """Return the reader for this host and for the control groups of this process."""
    cgroups = CgroupReader()

    def read() -> MemoryHeadroom:
        memory = read_memory(cgroups.read())
        return MemoryHeadroom(
            available=memory.available, total=memory.total, oom_kills=memory.oom_kills
        )

    return read
