"""Traffic and load of disks, from the kernel's counters: no program is run.

The figures are those that sysstat's ``iostat -x`` prints.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import NamedTuple

from resmeters import resbase

__all__ = ("DiskCounters", "DiskLoad", "iostat", "measure_load", "read_diskstats")

DISKSTATS = Path("/proc/diskstats")
SECTOR = 512
MIB = 1024 * 1024
DEVICES_KEY = "af_render_customiostat_devices"
DEFAULT_DEVICES = "sda"


class DiskCounters(NamedTuple):
    """Counters of one disk since boot; times in milliseconds."""

    ios: int
    read: int
    written: int
    waited: int
    busy: int
    queued: int
    """Time of all requests in the queue, summed."""
    moved: int
    """Sectors of 512 bytes, read and written."""


class DiskLoad(NamedTuple):
    """Load of several disks: traffic is their sum, each other figure the maximum."""

    read_mb: float
    """MiB per second."""
    write_mb: float
    size: float
    """KiB per request."""
    queue: float
    wait: float
    """Milliseconds per request."""
    busy: float
    """Percent of the time."""


def read_diskstats(text: str) -> dict[str, DiskCounters]:
    """Parse ``/proc/diskstats`` into counters by disk name; lines of other shapes are skipped."""
    disks = {}
    for line in text.splitlines():
        words = line.split()
        try:
            name, figures = words[2], [int(word) for word in words[3:14]]
        except (IndexError, ValueError):
            continue
        if len(figures) == 11:
            reads, _, read, read_ms, writes, _, written, write_ms, _, busy, queued = figures
            disks[name] = DiskCounters(
                reads + writes, read, written, read_ms + write_ms, busy, queued, read + written
            )
    return disks


def measure_load(
    before: dict[str, DiskCounters], now: dict[str, DiskCounters], seconds: float
) -> DiskLoad:
    """Compute the load between two readings; a disk that is new or was reset counts as idle."""
    loads = []
    for name, disk in now.items():
        old = before.get(name, disk)
        change = DiskCounters(*(max(new - past, 0) for new, past in zip(disk, old, strict=True)))
        loads.append(_load_of(change, max(seconds, 0.001)))
    if not loads:
        return DiskLoad(0, 0, 0, 0, 0, 0)
    worst = [max(column) for column in zip(*loads, strict=True)]
    return DiskLoad(
        sum(one.read_mb for one in loads), sum(one.write_mb for one in loads), *worst[2:]
    )


def _load_of(change: DiskCounters, seconds: float) -> DiskLoad:
    ios = max(change.ios, 1)
    return DiskLoad(
        read_mb=change.read * SECTOR / MIB / seconds,
        write_mb=change.written * SECTOR / MIB / seconds,
        size=change.moved * SECTOR / 1024 / ios,
        queue=change.queued / 1000 / seconds,
        wait=change.waited / ios,
        busy=min(100.0, change.busy / 10 / seconds),
    )


class iostat(resbase.resbase):
    """Percent of the time in which the busiest of the matching disks was busy.

    A regular expression for the whole name selects them: the environment variable
    ``AF_IOSTAT_DEVICE``, else the setting ``af_render_customiostat_devices``.
    """

    def __init__(self) -> None:
        super().__init__()
        device = self.settings.variables.get(DEVICES_KEY) or DEFAULT_DEVICES
        self.device = os.environ.get("AF_IOSTAT_DEVICE") or str(device)
        self._pattern = re.compile(self.device)
        self._before: dict[str, DiskCounters] | None = None
        self._time = 0.0
        self.labelr, self.labelg, self.labelb = 250, 250, 50
        self.height = 40
        self.valid = DISKSTATS.exists()

    def update(self) -> None:
        found = read_diskstats(DISKSTATS.read_text(encoding="ascii", errors="replace"))
        now = {name: disk for name, disk in found.items() if self._pattern.fullmatch(name)}
        before, past = self._before, self._time
        self._before, self._time = now, time.monotonic()
        if not now:
            self.value = 0
            self.label = f'No such devices found: "{self.device}"'
            self.tooltip = f"There are: {', '.join(sorted(found)) or 'none'}"
            return
        load = measure_load(before if before is not None else now, now, self._time - past)
        self.value = round(load.busy)
        self.graphr, self.graphg, self.graphb = 5 * self.value // 2, 255 - 5 * self.value // 2, 10
        self.bgcolorb = self.value
        self.label = (
            f"{' '.join(sorted(now))}: rMB/s={load.read_mb:.2f} wMB/s={load.write_mb:.2f}"
            f" %util={load.busy:.0f}\navgrq-kB={load.size:.1f} queue={load.queue:.2f}"
            f" await={load.wait:.2f}"
        )
        self.tooltip = (
            "Disks: MiB read and written per second, percent of the time busy,"
            " KiB per request, requests in the queue, milliseconds per request."
        )
