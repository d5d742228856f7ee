"""Traffic and load of disks, from the kernel's own counters: no program is run.

The figures are those that sysstat's ``iostat -x`` prints.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import NamedTuple

from resmeters import resbase

__all__ = ("Disk", "Load", "iostat", "measure_load", "read_diskstats")

DISKSTATS = Path("/proc/diskstats")
SECTOR = 512
MIB = 1024 * 1024
DEVICES = "af_render_customiostat_devices"
DEFAULT = "sda"


class Disk(NamedTuple):
    """Counters of one disk since boot; times in milliseconds."""

    ios: int
    read: int
    written: int
    waited: int
    busy: int
    queued: int
    """Time summed over all requests that were under way."""
    moved: int
    """Sectors of 512 bytes, both ways."""


class Load(NamedTuple):
    """What some disks did together: traffic is their sum, the rest that of the worst of them."""

    read_mb: float
    """MiB a second."""
    write_mb: float
    size: float
    """KiB a request."""
    queue: float
    wait: float
    """Milliseconds a request."""
    busy: float
    """Percent of the time."""


def read_diskstats(text: str) -> dict[str, Disk]:
    """The counters by name, from the text of ``/proc/diskstats``; odd lines are passed over."""
    disks = {}
    for line in text.splitlines():
        words = line.split()
        try:
            name, figures = words[2], [int(word) for word in words[3:14]]
        except (IndexError, ValueError):
            continue
        if len(figures) == 11:
            reads, _, read, read_ms, writes, _, written, write_ms, _, busy, queued = figures
            disks[name] = Disk(
                reads + writes, read, written, read_ms + write_ms, busy, queued, read + written
            )
    return disks


def measure_load(before: dict[str, Disk], now: dict[str, Disk], seconds: float) -> Load:
    """What the disks of `now` did since `before`; a disk that was made anew did nothing."""
    loads = []
    for name, disk in now.items():
        old = before.get(name, disk)
        grown = Disk(*(max(new - past, 0) for new, past in zip(disk, old, strict=True)))
        loads.append(_load_of(grown, max(seconds, 0.001)))
    if not loads:
        return Load(0, 0, 0, 0, 0, 0)
    worst = [max(column) for column in zip(*loads, strict=True)]
    return Load(sum(one.read_mb for one in loads), sum(one.write_mb for one in loads), *worst[2:])


def _load_of(grown: Disk, seconds: float) -> Load:
    ios = max(grown.ios, 1)
    return Load(
        read_mb=grown.read * SECTOR / MIB / seconds,
        write_mb=grown.written * SECTOR / MIB / seconds,
        size=grown.moved * SECTOR / 1024 / ios,
        queue=grown.queued / 1000 / seconds,
        wait=grown.waited / ios,
        busy=min(100.0, grown.busy / 10 / seconds),
    )


class iostat(resbase.resbase):
    """Percent of the time in which the busiest of the matching disks was busy.

    Which: a regular expression for the whole name, from the variable ``AF_IOSTAT_DEVICE``, else the
    setting ``af_render_customiostat_devices``.
    """

    def __init__(self) -> None:
        super().__init__()
        device = self.settings.variables.get(DEVICES) or DEFAULT
        self.device = os.environ.get("AF_IOSTAT_DEVICE") or str(device)
        self._pattern = re.compile(self.device)
        self._before: dict[str, Disk] | None = None
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
            "Disks: MiB read and written a second, percent of the time busy,"
            " KiB a request, requests under way, milliseconds a request."
        )
