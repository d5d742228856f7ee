"""The host's load during a task, as parsers get it: peak memory and mean CPU."""

from __future__ import annotations

import json

__all__ = ("Load",)

_BUSY_KEYS = ("cpu_user", "cpu_nice", "cpu_system", "cpu_iowait", "cpu_irq", "cpu_softirq")
_MAX_RECENT = 60


class Load:
    """Summary of the measurements so far."""

    def __init__(self) -> None:
        self.measured: dict[str, object] | None = None
        """The last measurement."""
        self.memory_peak: int | None = None
        """The maximum of memory in use, in MiB."""
        self.cpu_recent: list[int] = []
        """The last percents of busy time."""
        self._text: object = None
        self._cpu_sum = 0
        self._cpu_count = 0

    @property
    def cpu_mean(self) -> int | None:
        return round(self._cpu_sum / self._cpu_count) if self._cpu_count else None

    def take(self, text: object) -> bool:
        """Add a measurement, JSON ``{"host_resources": {...}}``; return whether it was a new one.

        Raises ValueError for text that is not JSON.
        """
        # Each call of a parser brings the last measurement again: equal text is the same
        # measurement.
        if not text or text == self._text or not isinstance(text, str | bytes):
            return False
        self._text = text
        data = json.loads(text)
        measured = data.get("host_resources") if isinstance(data, dict) else None
        if not isinstance(measured, dict):
            return False  # nothing has been measured yet
        self.measured = measured
        total, free = measured.get("mem_total_mb"), measured.get("mem_free_mb")
        if isinstance(total, int) and isinstance(free, int):
            self.memory_peak = max(self.memory_peak or 0, total - free)
        busy = [value for key in _BUSY_KEYS if isinstance(value := measured.get(key), int)]
        if busy:
            self._cpu_sum += sum(busy)
            self._cpu_count += 1
            self.cpu_recent = [*self.cpu_recent, sum(busy)][-_MAX_RECENT:]
        return True
