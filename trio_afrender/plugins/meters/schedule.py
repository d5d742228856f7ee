"""When a meter is measured again: after the period while it works, after longer delays while it fails."""

from __future__ import annotations

import attrs

__all__ = ("MeterHealth",)

FREE_FAILURES = 3
"""Failures in a row without a longer delay: a driver may be asleep, a server may restart."""
MAX_INTERVAL = 600.0
"""Seconds between two tries of a meter that keeps failing."""
FIRST_QUARANTINE = 60.0
"""Seconds without a measurement after a meter hung or ended the plugin host for the first time."""
MAX_QUARANTINE = 3600.0
"""Seconds; each further time is four times as long, up to this."""


@attrs.define
class MeterHealth:
    """The outcomes of a meter's last measurements."""

    failures: int = 0
    """In a row."""
    hangs: int = 0
    """Since it last worked for as long as its last quarantine."""
    absent: bool = False
    """Whether there is nothing to measure on this host, or no such meter."""
    _quarantined: bool = False
    _worked: float = 0.0
    """Seconds since it last hung in which it worked."""

    @property
    def quarantined(self) -> bool:
        """Whether it hung or ended the host, and has not been measured since."""
        return self._quarantined

    def note_good(self, period: float) -> None:
        """Count a measurement that succeeded, and `period` seconds of time that works."""
        self.failures, self.absent, self._quarantined = 0, False, False
        self._worked += period
        if self.hangs and self._worked >= self._quarantine_time():
            self.hangs, self._worked = 0, 0.0

    def note_raised(self) -> None:
        """Count a measurement that raised."""
        self.failures += 1
        self.absent = self._quarantined = False

    def note_absent(self) -> None:
        """Note that there is nothing to measure, or no such meter."""
        self.absent = True
        self._quarantined = False

    def note_hung(self) -> None:
        """Count a call that hung or ended the plugin host."""
        self.hangs += 1
        self._quarantined, self._worked = True, 0.0

    def delay(self, period: float) -> float:
        """Seconds until the next measurement."""
        if self._quarantined:
            return max(self._quarantine_time(), period)
        if self.absent:
            return max(MAX_INTERVAL, period)
        # 16 keeps the power finite; `MAX_INTERVAL` is reached long before.
        over = min(max(self.failures - FREE_FAILURES, 0), 16)
        return max(period, min(period * 2.0**over, MAX_INTERVAL))

    def _quarantine_time(self) -> float:
        if not self.hangs:
            return 0.0
        return min(FIRST_QUARANTINE * 4.0 ** (self.hangs - 1), MAX_QUARANTINE)
