"""Rates and percents from growing counters; counters that go back or start anew count as zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

__all__ = ("SHORTEST", "CounterSample", "RateCounter", "make_shares", "next_tick")


def next_tick(now: float, period: float) -> float:
    """Return the next multiple of `period`, in seconds, that is at least half a period after `now`.

    Periodic measurements at these moments happen together, so that their figures are sent in one
    message and the process is woken once. The same moment is the same float for all callers.
    """
    number = now // period + 1
    if number * period - now < period / 2:
        number += 1
    return number * period


def make_shares(before: Sequence[float], now: Sequence[float]) -> list[int]:
    """Return each counter's share of the total growth, in whole percent rounded down.

    Zeros if nothing grew. A counter that went back counts as unchanged: the kernel's iowait may.
    """
    grown = [max(new - old, 0.0) for old, new in zip(before, now, strict=True)]
    total = sum(grown)
    if total <= 0:
        return [0] * len(grown)
    return [int(part * 100 / total) for part in grown]


SHORTEST = 0.001
"""Seconds between two samples below which growth says nothing about a rate: the quotient of a small
growth and the smallest floats is infinite (test_rates_are_never_negative)."""


class RateCounter(NamedTuple):
    """Growth of a counter over several devices: the sum, the largest, and the time in seconds."""

    total: float
    most: float
    seconds: float

    def rate(self, unit: int = 1024) -> int:
        """Return units per second, rounded up, so that any traffic at all is not shown as 0.

        0 for a time below `SHORTEST`.
        """
        return -int(-self.total // (unit * self.seconds)) if self.seconds >= SHORTEST else 0


class CounterSample:
    """The last values of one counter, by the name of the device."""

    def __init__(self) -> None:
        self._time: float | None = None
        self._values: Mapping[str, float] = {}

    def advance(self, values: Mapping[str, float], now: float) -> RateCounter:
        """Store new values and return their growth; 0 for the first ones.

        A new device has no growth yet. A counter that went back belongs to a device that was
        created again (an interface taken down and up), which has none either.
        """
        old = self._values
        grown = [max(value - old[name], 0.0) for name, value in values.items() if name in old]
        seconds = 0.0 if self._time is None else max(now - self._time, 0.0)
        self._time, self._values = now, dict(values)
        return RateCounter(sum(grown), max(grown, default=0.0), seconds)
