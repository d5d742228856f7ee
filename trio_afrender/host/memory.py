"""How much memory this host has for us: the machine's, or what control groups leave of it."""

from __future__ import annotations

from pathlib import Path

import attrs
import psutil

from trio_afrender.host.container import Bounds

__all__ = ("Memory", "read_memory")


@attrs.frozen(slots=True, kw_only=True)
class Memory:
    """Bytes. `available` is what programs can still get without swapping."""

    total: int
    available: int
    cached: int = 0
    buffers: int = 0
    swap_total: int = 0
    swap_used: int = 0
    oom_kills: int = 0
    """How often the kernel has killed a process for want of memory, since its start."""


def read_memory(bounds: Bounds) -> Memory:
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
    return Memory(
        total=total,
        available=available,
        cached=cached,
        buffers=min(getattr(machine, "buffers", 0), total),
        swap_total=swap_total,
        swap_used=swap_used,
        oom_kills=kills,
    )


def _swap() -> tuple[int, int]:
    try:
        swap = psutil.swap_memory()
    except (OSError, RuntimeError):  # no /proc/vmstat in some containers
        return 0, 0
    return swap.total, swap.used


def _count_kills() -> int:
    try:
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return 0
