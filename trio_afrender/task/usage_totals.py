"""Usage of a whole process tree from measurements of its single processes, and its texts. Pure.

Processes start and end between two measurements. When a process waits for an ended child, the kernel
adds the child's totals to those of the parent, where they are measured again. The totals of a process
that no member of the tree has waited for (an orphan) would be lost: `_Counter` adds them up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import attrs

from trio_afrender.hostinfo.process_usage import GpuShare, ProcessUsage
from trio_afrender.protocol.messages import TaskUsage

__all__ = ("TreeUsage", "show_bytes", "usage_sentence", "usage_words")

_Key: TypeAlias = tuple[int, float]
_MIB = 1024**2


@attrs.define
class _Counter:
    """A total of a tree that never decreases, although its processes end."""

    total: Callable[[ProcessUsage], float]
    """Returns the total of a process with that of the children it has waited for."""
    inherited: Callable[[ProcessUsage], float]
    """Returns the part of it that can come from those children."""
    lost: float = 0.0
    """The sum for ended processes that no process of the tree has waited for."""
    value: float = 0.0

    def advance(
        self,
        before: Mapping[_Key, ProcessUsage],
        now: Mapping[_Key, ProcessUsage],
        successors: Mapping[_Key | None, Sequence[ProcessUsage]],
    ) -> None:
        """Add a measurement. `successors` are the ended processes by the nearest ancestor that still
        exists; None: no ancestor does."""
        for successor, ended in successors.items():
            left = sum(map(self.total, ended))
            if successor is not None:
                # What the successor gained from children it waited for is measured there already.
                left -= self.inherited(now[successor]) - self.inherited(before[successor])
            # Below zero: an ended process used more after it was last measured
            # (test_a_collected_child_counts_once_also_when_it_ran_on_after_the_measurement).
            self.lost += max(left, 0.0)
        # Guards against a process that cannot be read this time.
        self.value = max(self.value, self.lost + sum(map(self.total, now.values())))


class TreeUsage:
    """The usage of one run over all its process trees, from one measurement to the next."""

    def __init__(self, now: float) -> None:
        self.usage: TaskUsage = TaskUsage()
        self._time = now
        self._settled = 0.0
        self._before: Mapping[_Key, ProcessUsage] = {}
        self._cpu = _Counter(lambda usage: usage.cpu + usage.waited, lambda usage: usage.waited)
        self._read = _Counter(lambda usage: usage.read, lambda usage: usage.read)
        self._written = _Counter(lambda usage: usage.written, lambda usage: usage.written)
        self._io = _Counter(lambda usage: usage.passed, lambda usage: usage.passed)

    @property
    def keys(self) -> frozenset[_Key]:
        """Pid and start time of the processes measured last; some may be zombies by now."""
        return frozenset(self._before)

    @property
    def io_bytes(self) -> int:
        """Bytes in read and write calls, pipes and caches included: shows activity, is not reported."""
        return int(self._io.value)

    def advance(
        self,
        processes: Iterable[ProcessUsage],
        now: float,
        shares: Mapping[int, GpuShare] | None = None,
    ) -> TaskUsage:
        """Add a measurement of all processes of the tree at `now`, in seconds; `shares` are the GPU
        usage by pid."""
        last, taken = self._before, self._count(processes)
        usage = self.usage
        active = shares or usage.cpu_percent or usage.gpu_percent or usage.gpu_memory
        if taken == last and usage.processes and not active:
            self._time = now  # a quiet tree: the figures are the same
            return usage
        # Zombies have used but use nothing now (test_a_zombie_has_used_but_uses_nothing).
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
            # One process's own peak, kept by the kernel, may lie between two measurements.
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
        """Add the last measurement of a tree whose leader has ended. Only totals change."""
        self._count(processes)
        self.usage = self._totals()
        return self.usage

    def settle(self, cpu: float, peak: int) -> TaskUsage:
        """Add the totals that the supervisor of a tree reports: CPU seconds, peak memory in bytes.

        They are exact, because it waits for all processes of the tree.
        """
        self._settled += cpu
        self.usage = self._totals(
            resident_peak=max(self.usage.resident_peak, peak),
            # A tree that ended before the first measurement had one process at least.
            processes_peak=max(self.usage.processes_peak, 1),
        )
        return self.usage

    def _count(self, processes: Iterable[ProcessUsage]) -> Mapping[_Key, ProcessUsage]:
        taken = {usage.key: usage for usage in processes}
        before = self._before
        if taken == before:
            return taken
        successors: dict[_Key | None, list[ProcessUsage]] = {}
        by_pid = {usage.pid: usage for usage in before.values()}
        for usage in before.values():
            if usage.key in taken:
                continue
            ancestor: ProcessUsage | None = usage
            for _ in by_pid:  # bounded: a pid that was given to another process can make a circle
                ancestor = by_pid.get(ancestor.parent) if ancestor is not None else None
                if ancestor is None or ancestor.key in taken:
                    break
            key = ancestor.key if ancestor is not None and ancestor.key in taken else None
            successors.setdefault(key, []).append(usage)
        for counter in (self._cpu, self._read, self._written, self._io):
            counter.advance(before, taken, successors)
        self._before = taken
        return taken

    def _totals(self, **more: int) -> TaskUsage:
        return attrs.evolve(
            self.usage,
            **more,
            # The measured value misses the end of each process, the reported one a running tree.
            cpu_seconds=round(max(self._cpu.value, self._settled), 2),
            read_bytes=int(self._read.value),
            written_bytes=int(self._written.value),
        )


def usage_words(usage: TaskUsage) -> str:
    """Return the usage as ``name:value`` words, for the ``resources`` of a task."""
    figures: dict[str, float] = {}
    # Without a process it ended before the first measurement: 0 MB would be wrong
    # (test_a_task_that_ended_before_the_first_measurement_claims_no_memory).
    if usage.processes:
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
    """Return peaks and totals as text, for the end of the log; `seconds` is how long the run took."""
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
    """Return a size as text, in units of powers of 1024."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
