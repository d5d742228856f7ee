"""How much memory is left for tasks: of the host, and of the control groups around us."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import attrs

from trio_afrender.hostinfo.cgroup_limits import CgroupReader
from trio_afrender.hostinfo.memory import read_memory

__all__ = ("MemoryHeadroom", "ReadRoom", "make_headroom_reader")


@attrs.frozen(slots=True, kw_only=True)
class MemoryHeadroom:
    """Bytes of memory."""

    available: int
    """What programs can still get without swapping."""
    total: int
    oom_kills: int = 0
    """How often the kernel has killed for want of it, since its start."""


ReadRoom: TypeAlias = Callable[[], MemoryHeadroom]
"""Look now. Microseconds: files of the kernel, no disk."""


def make_headroom_reader() -> ReadRoom:
    """Return what looks at this host, and at the control groups that bound this process."""
    container = CgroupReader()

    def read() -> MemoryHeadroom:
        memory = read_memory(container.read())
        return MemoryHeadroom(
            available=memory.available, total=memory.total, oom_kills=memory.oom_kills
        )

    return read
