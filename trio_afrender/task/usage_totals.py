"""From figures of single processes to those of a run, and to the texts that people read. Pure.

Processes come and go between two measurements. What one has used goes to its parent when that one
collects it, as the kernel counts; what nobody of the tree collects (orphans) is kept here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

import attrs

from trio_afrender.hostinfo.process_usage import GpuShare, ProcessUsage
from trio_afrender.protocol.messages import TaskUsage

__all__ = ("TreeUsage", "show_bytes", "usage_sentence", "usage_words")

_Key: TypeAlias = tuple[int, float]
_MIB = 1024**2


@attrs.define
class _Counter:
    """A figure that only grows, over a tree whose processes end."""

    total: Callable[[ProcessUsage], float]
    """Of a process, with that of the children it has collected."""
    inherited: Callable[[ProcessUsage], float]
    """The part of it that can have come from collected children."""
    lost: float = 0.0
    value: float = 0.0

    def advance(
        self, before: Mapping[_Key, ProcessUsage], now: Mapping[_Key, ProcessUsage]
    ) -> None:
        for heir, gone in _heirs(before, now).items():
            left = sum(map(self.total, gone))
            if heir is not None:
                left -= self.inherited(now[heir]) - self.inherited(before[heir])
            self.lost += max(left, 0.0)
        self.value = max(self.value, self.lost + sum(map(self.total, now.values())))


def _heirs(
    before: Mapping[_Key, ProcessUsage], now: Mapping[_Key, ProcessUsage]
) -> dict[_Key | None, list[ProcessUsage]]:
    """Those that are gone, by their nearest ancestor that is still there; None: there is none."""
    by_pid = {usage.pid: usage for usage in before.values()}
    found: dict[_Key | None, list[ProcessUsage]] = {}
    for usage in before.values():
        if usage.key in now:
            continue
        heir: ProcessUsage | None = usage
        for _ in by_pid:  # bounded: pids that were given twice could make a circle
            heir = by_pid.get(heir.parent) if heir is not None else None
            if heir is None or heir.key in now:
                break
        key = heir.key if heir is not None and heir.key in now else None
        found.setdefault(key, []).append(usage)
    return found


class TreeUsage:
    """The figures of one run over all its processes, measurement after measurement."""

    def __init__(self, now: float) -> None:
        self.usage = TaskUsage()
        self._time = now
        self._settled = 0.0
        self._before: Mapping[_Key, ProcessUsage] = {}
        self._cpu = _Counter(lambda usage: usage.cpu + usage.waited, lambda usage: usage.waited)
        self._read = _Counter(lambda usage: usage.read, lambda usage: usage.read)
        self._written = _Counter(lambda usage: usage.written, lambda usage: usage.written)
        self._passed = _Counter(lambda usage: usage.passed, lambda usage: usage.passed)

    @property
    def keys(self) -> frozenset[_Key]:
        """Pid and start of those that were measured last: some may be zombies now, which count."""
        return frozenset(self._before)

    @property
    def passed_bytes(self) -> int:
        """Through read and write calls of any kind: a sign of life, not a figure for people."""
        return int(self._passed.value)

    def advance(
        self,
        processes: Iterable[ProcessUsage],
        now: float,
        shares: Mapping[int, GpuShare] | None = None,
    ) -> TaskUsage:
        """Take what all processes of the tree use at `now` (seconds); `shares` are by pid."""
        taken = self._count(processes)
        living = [usage for usage in taken.values() if usage.state not in "ZX"]
        resident = sum(usage.resident for usage in living)
        highest = max((usage.peak for usage in living), default=0)
        gpu = [share for usage in living if (share := (shares or {}).get(usage.pid)) is not None]
        gpu_memory = sum(share.memory for share in gpu)
        old, seconds = self._totals(), now - self._time
        grown = old.cpu_seconds - self.usage.cpu_seconds
        self._time = now
        self.usage = attrs.evolve(
            old,
            resident=resident,
            resident_peak=max(old.resident_peak, resident, highest),
            cpu_percent=round(grown * 100 / seconds, 1) if seconds > 0 else 0.0,
            processes=len(living),
            processes_peak=max(old.processes_peak, len(living)),
            gpu_memory=gpu_memory,
            gpu_memory_peak=max(old.gpu_memory_peak, gpu_memory),
            gpu_percent=round(sum(share.percent for share in gpu), 1),
        )
        return self.usage

    def close(self, processes: Iterable[ProcessUsage]) -> TaskUsage:
        """Take the last word of a tree whose leader has ended: what was used, not what is."""
        self._count(processes)
        self.usage = self._totals()
        return self.usage

    def settle(self, cpu: float, peak: int) -> TaskUsage:
        """Take the last word of whoever collected all processes of one tree: CPU seconds, bytes."""
        self._settled += cpu
        self.usage = attrs.evolve(
            self._totals(),
            resident_peak=max(self.usage.resident_peak, peak),
            processes_peak=max(self.usage.processes_peak, 1),
        )
        return self.usage

    def _count(self, processes: Iterable[ProcessUsage]) -> Mapping[_Key, ProcessUsage]:
        taken = {usage.key: usage for usage in processes}
        for counter in (self._cpu, self._read, self._written, self._passed):
            counter.advance(self._before, taken)
        self._before = taken
        return taken

    def _totals(self) -> TaskUsage:
        return attrs.evolve(
            self.usage,
            cpu_seconds=round(max(self._cpu.value, self._settled), 2),
            read_bytes=int(self._read.value),
            written_bytes=int(self._written.value),
        )


def usage_words(usage: TaskUsage) -> str:
    """The figures as a task's ``resources`` has them: ``name:value`` words."""
    figures: dict[str, float] = {}
    if usage.processes:  # else it was over before anybody looked
        figures["task_mem_mb"] = usage.resident // _MIB
    if usage.resident_peak:
        figures["task_mem_peak_mb"] = usage.resident_peak // _MIB
    if usage.processes:
        figures["task_procs"] = usage.processes
        figures["task_cpu"] = round(usage.cpu_percent)
    figures["task_cpu_sec"] = round(usage.cpu_seconds, 1)
    figures["task_read_mb"] = usage.read_bytes // _MIB
    figures["task_write_mb"] = usage.written_bytes // _MIB
    if usage.gpu_memory_peak:
        figures["task_gpu_mb"] = usage.gpu_memory // _MIB
        figures["task_gpu_peak_mb"] = usage.gpu_memory_peak // _MIB
        figures["task_gpu"] = round(usage.gpu_percent)
    return " ".join(f"{name}:{value:g}" for name, value in figures.items())


def usage_sentence(usage: TaskUsage, seconds: float | None = None) -> str:
    """The most that a run used, for the end of its log; `seconds` is how long it ran."""
    parts = []
    if usage.resident_peak:
        many = "process" if usage.processes_peak == 1 else "processes"
        at_once = f", {usage.processes_peak} {many} at once" if usage.processes_peak else ""
        parts.append(f"{show_bytes(usage.resident_peak)} of memory{at_once}")
    cores = ""
    if seconds is not None and seconds >= 1:
        cores = f" ({usage.cpu_seconds / seconds:.2g} cores on average)"
    parts.append(f"{usage.cpu_seconds:.1f} s of CPU{cores}")
    parts.append(f"{show_bytes(usage.read_bytes)} read, {show_bytes(usage.written_bytes)} written")
    if usage.gpu_memory_peak:
        parts.append(f"{show_bytes(usage.gpu_memory_peak)} of GPU memory")
    return "; ".join(parts)


def show_bytes(size: float) -> str:
    """A size for people, in powers of 1024."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
