"""Traffic of disks and network interfaces, as rates since the last measurement."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import psutil

from trio_afrender.hostinfo.rates import SHORTEST, CounterSample
from trio_afrender.text import compile_mask

__all__ = ("Disks", "Nets")

_VIRTUAL_DISKS = ("loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd")
_VIRTUAL_NETS = ("lo", "veth", "docker", "br-", "virbr")


class Disks:
    """Measures the disks that match `wanted`: shell patterns, separated by spaces or commas.

    Empty or ``*``: all whole disks. Partitions and devices made of other disks (RAID, loop, device
    mapper) are left out, because their traffic would count twice.
    """

    def __init__(self, wanted: str = "*", *, clock: Callable[[], float] = time.monotonic) -> None:
        names = [re.sub("^/dev/", "", name) for name in re.split(r"[\s,]+", wanted) if name]
        self._patterns = () if names in ([], ["*"]) else tuple(names)
        self._clock = clock
        self._whole: dict[str, bool] = {}
        self._read, self._written, self._busy = CounterSample(), CounterSample(), CounterSample()

    def read(self) -> Mapping[str, int]:
        """Return KiB per second read and written, and the busy percentage of the busiest disk."""
        # nowrap=False: psutil would add up counters that start anew; `CounterSample` handles them.
        found = psutil.disk_io_counters(perdisk=True, nowrap=False) or {}
        disks = {name: each for name, each in found.items() if self._is_wanted(name)}
        now = self._clock()
        read = self._read.advance(_pick(disks, "read_bytes"), now)
        written = self._written.advance(_pick(disks, "write_bytes"), now)
        busy = self._busy.advance(_pick(disks, "busy_time"), now)
        # The kernel counts busy milliseconds: ms / (s * 1000) * 100.
        percent = int(busy.most / (busy.seconds * 10)) if busy.seconds >= SHORTEST else 0
        return {
            "hdd_rd_kbsec": read.rate(),
            "hdd_wr_kbsec": written.rate(),
            "hdd_busy": min(percent, 100),
        }

    def _is_wanted(self, name: str) -> bool:
        if self._patterns:
            return any(fnmatchcase(name, pattern) for pattern in self._patterns)
        if name not in self._whole:
            self._whole[name] = not name.startswith(_VIRTUAL_DISKS) and _is_whole(name)
        return self._whole[name]


class Nets:
    """Measures the interfaces whose whole name matches `wanted`, a regular expression.

    Empty or ``.*``: all but loopback and the virtual interfaces between the host and its
    containers, whose packets would count twice.
    """

    def __init__(self, wanted: str = "", *, clock: Callable[[], float] = time.monotonic) -> None:
        self._wanted = compile_mask(wanted) if wanted not in {"", ".*", "*"} else None
        self._clock = clock
        self._received, self._sent = CounterSample(), CounterSample()

    def read(self) -> Mapping[str, int]:
        """Return KiB per second received and sent."""
        found = psutil.net_io_counters(pernic=True, nowrap=False)
        nets = {name: each for name, each in found.items() if self._is_wanted(name)}
        now = self._clock()
        return {
            "net_recv_kbsec": self._received.advance(_pick(nets, "bytes_recv"), now).rate(),
            "net_send_kbsec": self._sent.advance(_pick(nets, "bytes_sent"), now).rate(),
        }

    def _is_wanted(self, name: str) -> bool:
        if self._wanted is not None:
            return self._wanted.fullmatch(name) is not None
        return name != "lo" and not name.startswith(_VIRTUAL_NETS[1:])


def _pick(devices: Mapping[str, Any], counter: str) -> Mapping[str, float]:
    return {name: float(getattr(each, counter, 0)) for name, each in devices.items()}


def _is_whole(disk: str) -> bool:
    """Whether `disk` is a whole disk and no partition; the kernel lists only disks there."""
    blocks = Path("/sys/block")
    return not blocks.is_dir() or (blocks / disk.replace("/", "!")).exists()
