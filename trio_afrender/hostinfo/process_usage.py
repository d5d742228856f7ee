"""What single processes use and have used: memory, CPU, input and output.

On Linux this reads ``/proc`` itself, some 50 us a process; elsewhere psutil is asked. Blocking, but for
`peek`, which takes microseconds. What may not be seen counts as zero, never as an error.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from pathlib import Path
from typing import Protocol, TypeAlias

import attrs
import psutil

__all__ = (
    "GpuShare",
    "ProcReader",
    "ProcessUsage",
    "UsageReader",
    "make_usage_reader",
    "parse_stat",
)

_TICK = 1.0 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0.01
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_SHARE = 500.0
"""Asking for the proportional share of a process takes at most one part in so many of our time."""

_Key: TypeAlias = tuple[int, float]


@attrs.frozen(slots=True, kw_only=True)
class ProcessUsage:
    """One process at one moment; sizes in bytes, times in seconds. `pid` and `started` name it."""

    pid: int
    started: float
    """In the kernel's own unit; to be compared, not read."""
    parent: int
    name: str = ""
    state: str = "R"
    """The kernel's letter: R runs, S sleeps, D waits for a device, T is stopped, Z is a zombie."""
    cpu: float = 0.0
    """Of its own."""
    waited: float = 0.0
    """CPU seconds of the children that it has collected, and of theirs."""
    resident: int = 0
    """Its proportional share where the kernel told it cheaply, else all that is resident."""
    peak: int = 0
    """The most that it ever had resident."""
    read: int = 0
    """From devices; with that of collected children, as the other two."""
    written: int = 0
    passed: int = 0
    """Through read and write calls of any kind, pipes and caches included."""

    @property
    def key(self) -> tuple[int, float]:
        return self.pid, self.started


@attrs.frozen(slots=True, kw_only=True)
class GpuShare:
    """What one process has of the cards: bytes, and percent of one card's time, added up."""

    memory: int = 0
    percent: float = 0.0


class UsageReader(Protocol):
    """Where figures of processes come from."""

    def read(self, pids: Collection[int]) -> tuple[ProcessUsage, ...]:
        """Return those that exist, zombies too. Blocking; may be called in several threads."""
        ...

    def read_usage_now(self, pid: int) -> ProcessUsage | None:
        """Return what a process has used that may be a zombie already; no memory. Microseconds."""
        ...

    def largest(self, count: int) -> tuple[ProcessUsage, ...]:
        """Return the processes of the host with most memory, the largest first. Blocking."""
        ...


def make_usage_reader() -> UsageReader:
    """Return the reader for this system."""
    return ProcReader() if Path("/proc/self/stat").exists() else _PsutilReader()


class ProcReader:
    """A `UsageReader` for Linux.

    The proportional share (memory that several processes share counts in parts) is dear for big
    ones: the kernel walks all their pages. So it is asked for the less often the longer it took, and
    in between what is resident is taken in the same proportion.
    """

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc
        self._shares: dict[_Key, tuple[float, float]] = {}  # proportion, and when to ask again
        self._asking: set[_Key] = set()

    def read(self, pids: Collection[int]) -> tuple[ProcessUsage, ...]:
        found = []
        for pid in sorted(pids, reverse=True):  # children before those who collect them, mostly
            usage = self._usage(pid)
            if usage is not None:
                found.append(usage)
        self._forget()
        return tuple(found)

    def read_usage_now(self, pid: int) -> ProcessUsage | None:
        try:
            usage = parse_stat(_read(f"{self._proc}/{pid}/stat"))
        except (OSError, ValueError, IndexError):
            return None
        return self._with_traffic(usage)

    def largest(self, count: int) -> tuple[ProcessUsage, ...]:
        # Two small files each, and nothing that takes a lock: the host is in trouble already.
        found = []
        for name in os.listdir(self._proc):  # noqa: PTH208 - four times faster
            if not name.isdigit():
                continue
            try:
                usage = parse_stat(_read(f"{self._proc}/{name}/stat"))
                pages = int(_read(f"{self._proc}/{name}/statm").split()[1])
            except (OSError, ValueError, IndexError):
                continue
            found.append(attrs.evolve(usage, resident=pages * _PAGE))
        return tuple(sorted(found, key=lambda usage: -usage.resident)[:count])

    def _usage(self, pid: int) -> ProcessUsage | None:
        usage = self.read_usage_now(pid)
        if usage is None or usage.state in "ZX":
            return usage
        try:
            sizes = _parse_sizes(_read(f"{self._proc}/{pid}/status"))
        except OSError:
            return usage
        resident = sizes.get(b"VmRSS", 0)
        return attrs.evolve(
            usage,
            resident=self._proportional(usage.key, resident),
            peak=max(sizes.get(b"VmHWM", 0), resident),
        )

    def _with_traffic(self, usage: ProcessUsage) -> ProcessUsage:
        try:
            lines = _read(f"{self._proc}/{usage.pid}/io").splitlines()
        except OSError:  # another user's, or a kernel without it
            return usage
        told = {key: int(value) for key, _, value in (line.partition(b": ") for line in lines)}
        return attrs.evolve(
            usage,
            read=told.get(b"read_bytes", 0),
            written=told.get(b"write_bytes", 0),
            passed=told.get(b"rchar", 0) + told.get(b"wchar", 0),
        )

    def _proportional(self, key: _Key, resident: int) -> int:
        now = time.monotonic()
        share, due = self._shares.get(key, (1.0, 0.0))
        # Asking takes a lock of the process that is asked about. Who hangs with that lock held is
        # never asked again, so it costs one thread and not all of them.
        if now >= due and resident and key not in self._asking:
            self._asking.add(key)
            begun = time.thread_time()
            try:
                told = _parse_sizes(_read(f"{self._proc}/{key[0]}/smaps_rollup")).get(b"Pss")
            except OSError:
                told = None
            self._asking.discard(key)
            share = min(told / resident, 1.0) if told is not None else 1.0
            self._shares[key] = share, now + (time.thread_time() - begun) * _SHARE
        return int(resident * share)

    def _forget(self) -> None:
        """Drop what is remembered of processes that are gone, when there is much of it."""
        if len(self._shares) > 1000:
            now = time.monotonic()
            self._shares = {key: kept for key, kept in self._shares.items() if kept[1] > now}


class _PsutilReader:
    """A `UsageReader` for the other systems."""

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
                return ProcessUsage(
                    pid=pid,
                    started=process.create_time(),
                    parent=process.ppid(),
                    name=process.name(),
                    cpu=times.user + times.system,
                    waited=times.children_user + times.children_system,
                    resident=memory.rss,
                    peak=memory.rss,
                )
        except (psutil.Error, OSError):
            return None


def parse_stat(text: bytes) -> ProcessUsage:
    """Parse ``/proc/<pid>/stat``. The name in brackets may hold anything, brackets too."""
    end = text.rindex(b")")
    name = text[text.index(b"(") + 1 : end]
    fields = text[end + 2 :].split()
    return ProcessUsage(
        pid=int(text[: text.index(b" ")]),
        started=float(fields[19]),
        parent=int(fields[1]),
        name=name.decode(errors="replace"),
        state=fields[0].decode("ascii", "replace"),
        cpu=(int(fields[11]) + int(fields[12])) * _TICK,
        waited=(int(fields[13]) + int(fields[14])) * _TICK,
    )


def _parse_sizes(text: bytes) -> dict[bytes, int]:
    """The lines ``Name:  123 kB``, in bytes."""
    sizes = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and words[2] == b"kB" and words[1].isdigit():
            sizes[words[0].rstrip(b":")] = int(words[1]) * 1024
    return sizes


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 65536)
    finally:
        os.close(descriptor)
