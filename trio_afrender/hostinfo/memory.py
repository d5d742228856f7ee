"""How much memory this host has for us: the machine's, or what control groups leave of it."""

from __future__ import annotations

import re

import attrs
import psutil

from trio_afrender.hostinfo.cgroup_limits import CgroupLimits, read_small

__all__ = ("MemoryFigures", "read_memory")


_SWAP = re.compile(rb"^Swap(Total|Free): +(\d+) kB$", re.MULTILINE)
_KILLS = re.compile(rb"^oom_kill (\d+)$", re.MULTILINE)


@attrs.frozen(slots=True, kw_only=True)
class MemoryFigures:
    """Bytes. `available` is what programs can still get without swapping."""

    total: int
    available: int
    cached: int = 0
    buffers: int = 0
    swap_total: int = 0
    swap_used: int = 0
    oom_kills: int = 0
    """How often the kernel has killed a process for want of memory, since its start."""


def read_memory(bounds: CgroupLimits) -> MemoryFigures:
    """Ask the kernel. `bounds` are those of `Container.read`; the tighter figures count."""
    machine = psutil.virtual_memory()
    swap_total, swap_used = _swap()
    cached, kills = getattr(machine, "cached", 0), _count_kills()
    total, available = machine.total, machine.available
    if bounds.memory is not None and bounds.memory < total:
        total, available = bounds.memory, min(available, bounds.memory_left)
        cached, kills = min(cached, bounds.cached), bounds.oom_kills
    if bounds.swap is not None and bounds.swap < swap_total:
        swap_total, swap_used = bounds.swap, min(bounds.swap_used, bounds.swap)
    return MemoryFigures(
        total=total,
        available=available,
        cached=cached,
        buffers=min(getattr(machine, "buffers", 0), total),
        swap_total=swap_total,
        swap_used=swap_used,
        oom_kills=kills,
    )


def _swap() -> tuple[int, int]:
    found = dict(_SWAP.findall(read_small("/proc/meminfo")))
    if len(found) == 2:  # psutil reads the whole of another file for it
        total = int(found[b"Total"]) * 1024
        return total, total - int(found[b"Free"]) * 1024
    try:
        swap = psutil.swap_memory()
    except (OSError, RuntimeError):  # no /proc/vmstat in some containers
        return 0, 0
    return swap.total, swap.used


def _count_kills() -> int:
    found = _KILLS.search(read_small("/proc/vmstat"))
    return int(found[1]) if found is not None else 0
