"""Reads the limits that control groups set for this process: memory, swap, CPU.

Both hierarchies are read: the unified one (v2), and the older one with a tree for each controller
(v1). A limit can be set on any level between the group of this process and the root; the tightest
counts. In a container the mount often shows the container's own group as the root, while
``/proc/self/cgroup`` has the path as the host sees it: `CgroupReader._levels` matches the two.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from trio_afrender.errors import is_descriptor_missing
from trio_afrender.supervisor.cgroup import parse_groups, parse_mounts, read_names

__all__ = ("CgroupLimits", "CgroupReader", "read_small")

_NO_LIMIT = 1 << 60
"""Bytes; v1 has no word for "no limit" and writes a number beyond all memory."""


@attrs.frozen(slots=True, kw_only=True)
class CgroupLimits:
    """The limits of this process and its usage under them. None: no limit."""

    memory: int | None = None
    """Bytes."""
    memory_left: int = 0
    """Bytes until the limit; inactive file cache counts as free, since the kernel reclaims it."""
    cached: int = 0
    swap: int | None = None
    swap_used: int = 0
    processors: float | None = None
    """The CPU quota as a number of processors."""
    cpu_user: float = 0.0
    """CPU seconds used by the group that has the tightest quota."""
    cpu_system: float = 0.0
    oom_kills: int = 0
    """Out-of-memory kills so far in the group that has the tightest memory limit."""


class CgroupReader:
    """Reads the control groups of this process; a few files each time. Blocking."""

    def __init__(self, proc: str = "/proc/self", root: str = "/") -> None:
        self._proc = Path(proc)
        self._root = root
        self._memory: tuple[Path, ...] = ()
        self._cpu: tuple[Path, ...] = ()
        self._unified = False
        self._seen = ""

    def read(self) -> CgroupLimits:
        """Return the limits as they are now. A file that cannot be read sets no limit.

        Raises `OSError` as `read_small`.
        """
        self._find_folders()
        limits = CgroupLimits()
        for folder in self._memory:
            limits = (_memory_v2 if self._unified else _memory_v1)(folder, limits)
        for folder in self._cpu:
            limits = _apply_cpu_quota(folder, limits)
        return limits

    def _find_folders(self) -> None:
        """Find the folders of our groups; again only if the process was moved to other groups."""
        groups = read_small(f"{self._proc}/cgroup").decode(errors="surrogateescape")
        if groups == self._seen:
            return
        try:
            mounts = parse_mounts(read_names(self._proc / "mountinfo"))
        except OSError:
            return  # tried again at the next call
        self._seen = groups
        paths = parse_groups(groups)
        self._memory = tuple(self._levels("memory", paths, mounts))
        self._unified = not self._memory
        if self._unified:
            self._memory = tuple(self._levels("", paths, mounts))
        self._cpu = tuple(self._levels("cpu", paths, mounts)) or tuple(
            self._levels("", paths, mounts)
        )

    def _levels(
        self, controller: str, paths: Mapping[str, str], mounts: Mapping[str, tuple[str, str]]
    ) -> Iterator[Path]:
        """Yield our group's folder and those above it, for one controller ('': the unified tree)."""
        if controller not in paths or controller not in mounts:
            return
        # `shown` is the part of the tree that is mounted; below the mount point it is missing.
        shown, point = mounts[controller]
        top = Path(self._root) / point.lstrip("/")
        path = paths[controller]
        inner = path.removeprefix(shown) if shown != "/" and path.startswith(shown) else path
        folder = top / inner.strip("/")
        # In a container the group's path can be outside of what is mounted: the root is ours then.
        if ".." in Path(inner).parts or not folder.is_dir():
            folder = top
        while True:
            yield folder
            if folder == top:
                return
            folder = folder.parent


def _memory_v2(folder: Path, limits: CgroupLimits) -> CgroupLimits:
    limit = _number(folder, "memory.max")
    if limit is not None:
        stat = _table(folder, "memory.stat")
        used = (_number(folder, "memory.current") or 0) - stat.get("inactive_file", 0)
        events = _table(folder, "memory.events")
        limits = _tighten(limits, limit, used, stat.get("file", 0), events.get("oom_kill", 0))
    swap = _number(folder, "memory.swap.max")
    if swap is not None and (limits.swap is None or swap < limits.swap):
        used = _number(folder, "memory.swap.current") or 0
        limits = attrs.evolve(limits, swap=swap, swap_used=used)
    return limits


def _memory_v1(folder: Path, limits: CgroupLimits) -> CgroupLimits:
    limit = _number(folder, "memory.limit_in_bytes")
    if limit is None or limit >= _NO_LIMIT:
        return limits
    stat = _table(folder, "memory.stat")
    used = (_number(folder, "memory.usage_in_bytes") or 0) - stat.get("total_inactive_file", 0)
    kills = _table(folder, "memory.oom_control").get("oom_kill", 0)
    limits = _tighten(limits, limit, used, stat.get("total_cache", 0), kills)
    both = _number(folder, "memory.memsw.limit_in_bytes")
    if both is not None and both < _NO_LIMIT and both - limit < (limits.swap or _NO_LIMIT):
        limits = attrs.evolve(limits, swap=both - limit, swap_used=stat.get("total_swap", 0))
    return limits


def _tighten(limits: CgroupLimits, limit: int, used: int, cached: int, kills: int) -> CgroupLimits:
    left = max(limit - max(used, 0), 0)
    if limits.memory is not None and left >= limits.memory_left:
        return limits
    return attrs.evolve(
        limits, memory=limit, memory_left=left, cached=min(cached, limit), oom_kills=kills
    )


def _apply_cpu_quota(folder: Path, limits: CgroupLimits) -> CgroupLimits:
    v1 = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    words = (_text(folder, "cpu.max") or "".join(_text(folder, name) for name in v1)).split()
    if len(words) != 2 or not words[0].isdigit() or not words[1].isdigit():
        return limits  # "max" or -1: no quota
    quota = int(words[0]) / max(int(words[1]), 1)
    if quota >= (limits.processors or math.inf):
        return limits
    stat = _table(folder, "cpu.stat")
    if "usage_usec" in stat:
        user, system = stat.get("user_usec", 0) / 1e6, stat.get("system_usec", 0) / 1e6
    else:  # v1: the controller cpuacct is mounted in the same tree as cpu, or in one beside it
        parts = ["cpuacct" if part in {"cpu", "cpu,cpuacct"} else part for part in folder.parts]
        times = _table(folder, "cpuacct.stat") or _table(Path(*parts), "cpuacct.stat")
        tick = os.sysconf("SC_CLK_TCK")
        user, system = times.get("user", 0) / tick, times.get("system", 0) / tick
    return attrs.evolve(limits, processors=quota, cpu_user=user, cpu_system=system)


def _text(folder: Path, name: str) -> str:
    return read_small(f"{folder}/{name}").decode("ascii", "replace")


def read_small(path: str) -> bytes:
    """Return a small file of the kernel; empty if it cannot be read.

    Raises `OSError` where this process has no descriptor or memory left for that: no file is no limit.
    """
    try:
        # To its end: the kernel gives /proc/vmstat in parts of a page, and `read_file` reads one part.
        return Path(path).read_bytes()
    except OSError as error:
        if is_descriptor_missing(error):
            raise
        return b""


def _number(folder: Path, name: str) -> int | None:
    """Return the number in a file; None for ``max``, -1, or no such file."""
    text = _text(folder, name).strip()
    return int(text) if text.isdigit() else None


def _table(folder: Path, name: str) -> dict[str, int]:
    pairs = (line.split() for line in _text(folder, name).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}
