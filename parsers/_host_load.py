"""The host's load while a task ran, as parsers are told it: peak memory and mean CPU."""

from __future__ import annotations

import json

__all__ = ("Load",)

_BUSY = ("cpu_user", "cpu_nice", "cpu_system", "cpu_iowait", "cpu_irq", "cpu_softirq")
_RECENT = 60


class Load:
    """What was measured so far. Equal text twice is one measurement told twice."""

    def __init__(self) -> None:
        self.measured: dict[str, object] | None = None
        self.memory_peak: int | None = None
        """Megabytes in use at most."""
        self.cpu_recent: list[int] = []
        """The last busy percents."""
        self._text: object = None
        self._cpu_sum = 0
        self._cpu_count = 0

    @property
    def cpu_mean(self) -> int | None:
        return round(self._cpu_sum / self._cpu_count) if self._cpu_count else None

    def take(self, text: object) -> bool:
        """Take a measurement, JSON ``{"host_resources": {...}}``; return whether it was a new one.

        Raises ValueError for text that is no JSON.
        """
        if not text or text == self._text or not isinstance(text, str | bytes):
            return False
        self._text = text
        told = json.loads(text)
        measured = told.get("host_resources") if isinstance(told, dict) else None
        if not isinstance(measured, dict):
            return False  # nothing has been measured yet
        self.measured = measured
        self._take_memory(measured.get("mem_total_mb"), measured.get("mem_free_mb"))
        self._take_cpu([value for key in _BUSY if isinstance(value := measured.get(key), int)])
        return True

    def _take_memory(self, total: object, free: object) -> None:
        if isinstance(total, int) and isinstance(free, int):
            self.memory_peak = max(self.memory_peak or 0, total - free)

    def _take_cpu(self, busy: list[int]) -> None:
        if busy:
            self._cpu_sum += sum(busy)
            self._cpu_count += 1
            self.cpu_recent = [*self.cpu_recent, sum(busy)][-_RECENT:]
