"""When a meter is asked again: soon while it is well, ever later while it is not. Plain rules."""

from __future__ import annotations

import attrs

__all__ = ("MeterHealth",)

FREE_FAILURES = 3
"""So many failures in a row cost nothing: a driver may be asleep, a server restarted."""
MAX_INTERVAL = 600.0
"""Seconds; a meter that keeps failing is tried this often for ever."""
FIRST_QUARANTINE = 60.0
"""Seconds for which a meter that hung or ended the plugin host is left alone the first time."""
MAX_QUARANTINE = 3600.0


@attrs.define
class MeterHealth:
    """What became of a meter's last measurements."""

    failures: int = 0
    """In a row."""
    hangs: int = 0
    """Since it was last well for longer than its quarantine had been."""
    absent: bool = False
    """Whether it says that there is nothing to measure, or there is no such meter."""
    _out: bool = False
    _well: float = 0.0

    @property
    def quarantined(self) -> bool:
        """Whether it is not measured for a while, after it hung or ended the host."""
        return self._out

    def note_good(self, period: float) -> None:
        self.failures, self.absent, self._out = 0, False, False
        self._well += period
        if self.hangs and self._well >= self._quarantine():
            self.hangs, self._well = 0, 0.0

    def note_raised(self) -> None:
        self.failures += 1
        self.absent = self._out = False

    def note_absent(self) -> None:
        self.absent = True
        self._out = False

    def note_hung(self) -> None:
        """It hung, or the plugin host had to be ended because of it."""
        self.hangs += 1
        self._out, self._well = True, 0.0

    def delay(self, period: float) -> float:
        """Seconds until it is asked again."""
        if self._out:
            return max(self._quarantine(), period)
        if self.absent:
            return max(MAX_INTERVAL, period)
        over = min(max(self.failures - FREE_FAILURES, 0), 16)
        return max(period, min(period * 2.0**over, MAX_INTERVAL))

    def _quarantine(self) -> float:
        return (
            min(FIRST_QUARANTINE * 4.0 ** (self.hangs - 1), MAX_QUARANTINE) if self.hangs else 0.0
        )
