"""What the control groups around this process leave of its host: memory, swap, processors.

Both kinds of hierarchy are read, the unified one (v2) and the older with one tree a controller (v1).
A limit may stand on any level between our group and the root: the tightest counts. A container
often shows its own group as the root, under a path that only its host knows.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

__all__ = ("CgroupLimits", "CgroupReader", "parse_groups", "parse_mounts", "read_small")

_NO_LIMIT = 1 << 60
"""Bytes: v1 writes no limit as a number beyond all memory."""


@attrs.frozen(slots=True, kw_only=True)
class CgroupLimits:
    """What is left to us. None: nothing bounds it."""

    memory: int | None = None
    """Bytes."""
    memory_left: int = 0
    """Bytes until the limit, counting what the kernel would give back of caches."""
    cached: int = 0
    swap: int | None = None
    swap_used: int = 0
    processors: float | None = None
    """How many of them our time is worth, by quota."""
    cpu_user: float = 0.0
    """Seconds that the group whose quota counts has used."""
    cpu_system: float = 0.0
    oom_kills: int = 0
    """How often the kernel has killed in the group whose memory limit counts."""


class CgroupReader:
    """Reads the groups of this process; a few files each time. Blocking."""

    def __init__(self, proc: str = "/proc/self", root: str = "/") -> None:
        self._proc = Path(proc)
        self._root = root
        self._memory: tuple[Path, ...] = ()
        self._cpu: tuple[Path, ...] = ()
        self._unified = False
        self._seen = ""

    def read(self) -> CgroupLimits:
        """Return what bounds us now. What cannot be read does not bound."""
        self._find()
        bounds = CgroupLimits()
        for folder in self._memory:
            bounds = (_memory_v2 if self._unified else _memory_v1)(folder, bounds)
        for folder in self._cpu:
            bounds = _cpu(folder, bounds)
        return bounds

    def _find(self) -> None:
        """Find the folders of our groups, again if we have been moved."""
        groups = read_small(f"{self._proc}/cgroup").decode(errors="surrogateescape")
        if groups == self._seen:
            return
        self._seen = groups
        try:
            mounts = parse_mounts((self._proc / "mountinfo").read_text())
        except OSError:
            return
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
        """Our group's folder and those above it, for one controller ('': the unified tree)."""
        if controller not in paths or controller not in mounts:
            return
        shown, point = mounts[controller]
        top = Path(self._root) / point.lstrip("/")
        path = paths[controller]
        inner = path.removeprefix(shown) if shown != "/" and path.startswith(shown) else path
        folder = top / inner.strip("/")
        if ".." in Path(inner).parts or not folder.is_dir():
            folder = top
        while True:
            yield folder
            if folder == top:
                return
            folder = folder.parent


def parse_groups(text: str) -> dict[str, str]:
    """``/proc/self/cgroup``: the path in each controller's tree; '' is the unified one."""
    found = {}
    for line in text.splitlines():
        _, names, path = (*line.split(":", 2), "", "")[:3]
        for name in names.split(","):
            found[name] = path
    return found


def parse_mounts(text: str) -> dict[str, tuple[str, str]]:
    """``/proc/self/mountinfo``: where each controller's tree stands, and which part of it."""
    found: dict[str, tuple[str, str]] = {}
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        words, kinds = before.split(), after.split()
        if len(words) < 5 or len(kinds) < 3:
            continue
        if kinds[0] == "cgroup2":
            found.setdefault("", (words[3], words[4]))
        elif kinds[0] == "cgroup":
            for name in kinds[2].split(","):
                found.setdefault(name, (words[3], words[4]))
    return found


def _memory_v2(folder: Path, bounds: CgroupLimits) -> CgroupLimits:
    limit = _number(folder, "memory.max")
    if limit is not None:
        told = _table(folder, "memory.stat")
        used = (_number(folder, "memory.current") or 0) - told.get("inactive_file", 0)
        events = _table(folder, "memory.events")
        bounds = _tighten(bounds, limit, used, told.get("file", 0), events.get("oom_kill", 0))
    swap = _number(folder, "memory.swap.max")
    if swap is not None and (bounds.swap is None or swap < bounds.swap):
        used = _number(folder, "memory.swap.current") or 0
        bounds = attrs.evolve(bounds, swap=swap, swap_used=used)
    return bounds


def _memory_v1(folder: Path, bounds: CgroupLimits) -> CgroupLimits:
    limit = _number(folder, "memory.limit_in_bytes")
    if limit is None or limit >= _NO_LIMIT:
        return bounds
    told = _table(folder, "memory.stat")
    used = (_number(folder, "memory.usage_in_bytes") or 0) - told.get("total_inactive_file", 0)
    kills = _table(folder, "memory.oom_control").get("oom_kill", 0)
    bounds = _tighten(bounds, limit, used, told.get("total_cache", 0), kills)
    both = _number(folder, "memory.memsw.limit_in_bytes")
    if both is not None and both < _NO_LIMIT and both - limit < (bounds.swap or _NO_LIMIT):
        bounds = attrs.evolve(bounds, swap=both - limit, swap_used=told.get("total_swap", 0))
    return bounds


def _tighten(bounds: CgroupLimits, limit: int, used: int, cached: int, kills: int) -> CgroupLimits:
    left = max(limit - max(used, 0), 0)
    if bounds.memory is not None and left >= bounds.memory_left:
        return bounds
    return attrs.evolve(
        bounds, memory=limit, memory_left=left, cached=min(cached, limit), oom_kills=kills
    )


def _cpu(folder: Path, bounds: CgroupLimits) -> CgroupLimits:
    quota = _quota(folder)
    if quota is None or quota >= (bounds.processors or math.inf):
        return bounds
    told = _table(folder, "cpu.stat")
    if "usage_usec" in told:
        user, system = told.get("user_usec", 0) / 1e6, told.get("system_usec", 0) / 1e6
    else:  # v1: the files of cpuacct stand in the same tree, or in one beside it
        times = _table(folder, "cpuacct.stat") or _table(_beside(folder), "cpuacct.stat")
        tick = os.sysconf("SC_CLK_TCK")
        user, system = times.get("user", 0) / tick, times.get("system", 0) / tick
    return attrs.evolve(bounds, processors=quota, cpu_user=user, cpu_system=system)


def _beside(folder: Path) -> Path:
    """The same group in the tree of ``cpuacct``."""
    parts = ["cpuacct" if part in {"cpu", "cpu,cpuacct"} else part for part in folder.parts]
    return Path(*parts)


def _quota(folder: Path) -> float | None:
    words = _text(folder, "cpu.max").split()
    if len(words) == 2 and words[0].isdigit() and words[1].isdigit():
        return int(words[0]) / max(int(words[1]), 1)
    quota, period = _number(folder, "cpu.cfs_quota_us"), _number(folder, "cpu.cfs_period_us")
    return quota / period if quota is not None and period else None


def _text(folder: Path, name: str) -> str:
    return read_small(f"{folder}/{name}").decode("ascii", "replace")


def read_small(path: str) -> bytes:
    """A file of the kernel; empty when it cannot be read. A third of the price of a Path's."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(descriptor, 65536)
        finally:
            os.close(descriptor)
    except OSError:
        return b""


def _number(folder: Path, name: str) -> int | None:
    """One number; None for ``max``, -1, or no such file."""
    text = _text(folder, name).strip()
    return int(text) if text.isdigit() else None


def _table(folder: Path, name: str) -> dict[str, int]:
    pairs = (line.split() for line in _text(folder, name).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}
