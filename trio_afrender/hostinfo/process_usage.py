"""Usage of single processes: memory, CPU, input and output.

On Linux `ProcReader` reads ``/proc`` itself, about 50 us for a process; elsewhere psutil is used. Its
methods block, but for `read_usage_now`, which takes microseconds; `ThreadedUsageReader` calls them in
threads, because reading a process that hangs can hang, too. A figure that may not be read counts as
zero, never as an error.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias, final

import attrs
import psutil
import trio

from trio_afrender.process.procfs import read_file, split_stat
from trio_afrender.tasklog.io_threads import call_in_thread

__all__ = (
    "GpuShare",
    "ProcReader",
    "ProcessUsage",
    "ThreadedUsageReader",
    "UsageReader",
    "make_usage_reader",
    "parse_stat",
)

_TICK = 1.0 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0.01
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_SHARE = 500.0
"""Reading the proportional share of a process takes at most 1/500 of the time."""
_MAX_AGE = 60.0
"""Seconds after which the memory of a process is read again, though it has the same pages."""
_MAX_KNOWN = 10_000
"""Processes from which on the memory of those that have ended is forgotten."""
LARGEST_COUNT = 10
"""Rows of a table of the largest processes."""
READ_TIMEOUT = 2.0
"""Seconds after which `ThreadedUsageReader` gives up a reading and returns nothing."""

_SIZES = re.compile(rb"\nVm(HWM|RSS):\s*(\d+) kB")
_OWN_SIZE = re.compile(rb"\nPss:\s*(\d+) kB")

_Key: TypeAlias = tuple[int, float]
"""Pid and start time, which name a process for good: a pid alone is reused."""


@attrs.frozen(slots=True, kw_only=True)
class ProcessUsage:
    """Usage of one process at one moment; sizes in bytes, times in seconds."""

    pid: int
    started: float
    """In the system's own unit; only for comparison."""
    parent: int
    name: str = ""
    state: str = "R"
    """The state letter: R runs, S sleeps, D waits for a device, T is stopped, Z is a zombie."""
    cpu: float = 0.0
    """CPU seconds of the process without its children."""
    waited: float = 0.0
    """CPU seconds of its reaped children, with those that they reaped."""
    resident: int = 0
    """Its proportional share of memory where that is cheap to read, else all resident memory."""
    peak: int = 0
    """The largest resident size so far."""
    read: int = 0
    """Bytes from devices; this and the next two include reaped children."""
    written: int = 0
    """Bytes to devices."""
    passed: int = 0
    """Bytes of all read and write calls, also of pipes and caches."""

    @property
    def key(self) -> tuple[int, float]:
        return self.pid, self.started


@attrs.frozen(slots=True, kw_only=True)
class GpuShare:
    """What one process uses of all GPUs: bytes, and percent of a GPU's time, added up."""

    memory: int = 0
    percent: float = 0.0


class UsageReader(Protocol):
    """Reads the usage of processes."""

    def read(self, pids: Collection[int]) -> tuple[ProcessUsage, ...]:
        """Return those that exist, also zombies. Blocking; may be called in several threads."""
        ...

    def read_usage_now(self, pid: int) -> ProcessUsage | None:
        """Return CPU, input and output of a process, also of a zombie. Takes microseconds."""
        ...

    def largest(self, count: int) -> tuple[ProcessUsage, ...]:
        """Return the processes of the host that use most memory, largest first. Blocking."""
        ...


def make_usage_reader() -> UsageReader:
    """Return the reader for this system."""
    return ProcReader() if Path("/proc/self/stat").exists() else _PsutilReader()


class _Size(NamedTuple):
    """The memory of a process as `ProcReader` has last read it, in bytes but for `pages`."""

    pages: int
    """Those for which `part` was read, -1 for others."""
    resident: int
    peak: int
    part: float
    """The part of the resident size that is the process's own, read at the time `read`."""
    read: float
    pause: float
    """Seconds until that part may be read again."""


_NOT_READ = _Size(pages=-1, resident=0, peak=0, part=1.0, read=-math.inf, pause=0.0)


class ProcReader:
    """A `UsageReader` for Linux.

    The proportional share (memory shared by n processes counts as 1/n for each) is slow to read for
    large processes: the kernel walks all their pages. So it is read less often the longer that took; in
    between the same proportion of the resident size is returned. While a process has the same number of
    pages, neither is read for a minute: a quiet process costs a third of that.
    """

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc
        self._sizes: dict[_Key, _Size] = {}
        self._reading: set[_Key] = set()

    def read(self, pids: Collection[int]) -> tuple[ProcessUsage, ...]:
        found = []
        # Newest first, so mostly children before their parents: the CPU time of a child that is
        # reaped in between is in at least one of the two figures.
        for pid in sorted(pids, reverse=True):
            usage = self.read_usage_now(pid)
            if usage is None:
                continue
            if usage.state not in "ZX":
                with suppress(OSError):
                    size = self._read_size(usage.key)
                    resident = int(size.resident * size.part)
                    usage = attrs.evolve(usage, resident=resident, peak=size.peak)
            found.append(usage)
        if len(self._sizes) > _MAX_KNOWN:
            oldest = time.monotonic() - _MAX_AGE
            # A copy, because another thread may add to it meanwhile.
            known = self._sizes.copy()
            self._sizes = {key: size for key, size in known.items() if size.read > oldest}
        return tuple(found)

    def read_usage_now(self, pid: int) -> ProcessUsage | None:
        try:
            usage = parse_stat(read_file(f"{self._proc}/{pid}/stat"))
        except (OSError, ValueError, IndexError):
            return None
        try:
            lines = read_file(f"{self._proc}/{pid}/io").splitlines()
        except OSError:  # a process of another user, or a kernel without it
            return usage
        counters = {key: int(value) for key, _, value in (line.partition(b": ") for line in lines)}
        return attrs.evolve(
            usage,
            read=counters.get(b"read_bytes", 0),
            written=counters.get(b"write_bytes", 0),
            passed=counters.get(b"rchar", 0) + counters.get(b"wchar", 0),
        )

    def largest(self, count: int) -> tuple[ProcessUsage, ...]:
        # Only two small files a process, read without a lock of that process: this is called when
        # the host is short of memory and processes hang.
        found = []
        for name in os.listdir(self._proc):  # noqa: PTH208 - four times faster
            if not name.isdigit():
                continue
            try:
                usage = parse_stat(read_file(f"{self._proc}/{name}/stat"))
                pages = int(read_file(f"{self._proc}/{name}/statm").split()[1])
            except (OSError, ValueError, IndexError):
                continue
            found.append(attrs.evolve(usage, resident=pages * _PAGE))
        return tuple(sorted(found, key=lambda usage: -usage.resident)[:count])

    def _read_size(self, key: _Key) -> _Size:
        """Return the memory of a process; that of the last reading if its pages are the same."""
        folder = f"{self._proc}/{key[0]}"
        now = time.monotonic()
        known = self._sizes.get(key, _NOT_READ)
        age = now - known.read
        pages = int(read_file(f"{folder}/statm").split()[1])
        if pages == known.pages and age < _MAX_AGE:
            return known
        sizes = dict(_SIZES.findall(read_file(f"{folder}/status")))
        resident = int(sizes.get(b"RSS", 0)) * 1024
        size = known._replace(
            pages=-1,  # of a proportion read earlier: the next reading looks again
            resident=resident,
            peak=max(int(sizes.get(b"HWM", 0)) * 1024, resident),
        )
        # Reading smaps_rollup takes the memory lock of that process. A process that hangs with the
        # lock held stays in `_reading`, so it blocks one thread and not one more each time.
        if age >= known.pause and resident and key not in self._reading:
            self._reading.add(key)
            begun = time.thread_time()
            try:
                own = _OWN_SIZE.search(read_file(f"{folder}/smaps_rollup"))
            except OSError:
                own = None
            self._reading.discard(key)
            size = size._replace(
                pages=pages,
                part=min(int(own[1]) * 1024 / resident, 1.0) if own else 1.0,
                read=now,
                pause=(time.thread_time() - begun) * _SHARE,
            )
        self._sizes[key] = size
        return size


class _PsutilReader:
    """A `UsageReader` for systems without ``/proc``."""

    def read(self, pids: Collection[int]) -> tuple[ProcessUsage, ...]:
        return tuple(usage for usage in map(self.read_usage_now, pids) if usage is not None)

    def largest(self, count: int) -> tuple[ProcessUsage, ...]:
        found = self.read(psutil.pids())
        return tuple(sorted(found, key=lambda usage: -usage.resident)[:count])

    def read_usage_now(self, pid: int) -> ProcessUsage | None:
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                times, memory = process.cpu_times(), process.memory_info()
                usage = ProcessUsage(
                    pid=pid,
                    started=process.create_time(),
                    parent=0,
                    name="",
                    cpu=times.user + times.system,
                    waited=times.children_user + times.children_system,
                    resident=memory.rss,
                    peak=getattr(memory, "peak_wset", memory.rss),
                )
        except (psutil.Error, OSError):
            return None
        # Each of these may be refused while the figures above are not.
        with suppress(psutil.Error, OSError):
            usage = attrs.evolve(usage, parent=process.ppid())
        with suppress(psutil.Error, OSError):
            usage = attrs.evolve(usage, name=process.name())
        with suppress(psutil.Error, OSError, AttributeError):  # macOS has no such counters
            counted = process.io_counters()
            usage = attrs.evolve(
                usage,
                read=counted.read_bytes,
                written=counted.write_bytes,
                passed=counted.read_bytes + counted.write_bytes,
            )
        return usage


@final
class ThreadedUsageReader:
    """A `ProcessUsageReader` of the package `task`: calls a blocking `UsageReader` in threads.

    `shares` returns the GPU usage of processes, by pid, as of the last sample. Each reading begins
    when `wait_turn` returns: the host's own measurement is over.
    """

    def __init__(
        self,
        reader: UsageReader,
        shares: Callable[[], Mapping[int, GpuShare]] = dict,
        wait_turn: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
    ) -> None:
        self._reader = reader
        self.shares = shares
        self._wait_turn = wait_turn
        self._threads = trio.CapacityLimiter(4)

    async def read(self, pids: Collection[int]) -> tuple[ProcessUsage, ...]:
        return await self._call(partial(self._reader.read, frozenset(pids)))

    async def largest(self) -> tuple[ProcessUsage, ...]:
        return await self._call(partial(self._reader.largest, LARGEST_COUNT))

    async def _call(self, read: Callable[[], tuple[ProcessUsage, ...]]) -> tuple[ProcessUsage, ...]:
        with trio.move_on_after(READ_TIMEOUT), suppress(OSError):  # no thread, no descriptor
            await self._wait_turn()
            # Abandoned, because it changes nothing.
            return await call_in_thread(read, limiter=self._threads, abandon=True)
        return ()

    def read_usage_now(self, pid: int) -> ProcessUsage | None:
        return self._reader.read_usage_now(pid)


def parse_stat(text: bytes) -> ProcessUsage:
    """Parse ``/proc/<pid>/stat``. Raises ValueError or IndexError."""
    pid, name, fields = split_stat(text)
    return ProcessUsage(
        pid=pid,
        started=float(fields[19]),
        parent=int(fields[1]),
        name=name.decode(errors="replace"),
        state=fields[0].decode("ascii", "replace"),
        cpu=(int(fields[11]) + int(fields[12])) * _TICK,
        waited=(int(fields[13]) + int(fields[14])) * _TICK,
    )
