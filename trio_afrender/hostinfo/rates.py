"""From counters that only grow to percents and rates, whatever the counters really do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

__all__ = ("CounterSample", "RateCounter", "make_shares", "until_tick")


def until_tick(now: float, period: float) -> float:
    """Seconds to the next moment at which all measure who do it every `period`; at least half of it.

    What is measured at one moment goes out in one message, and threads are woken once.
    """
    wait = period - now % period
    return wait if wait >= period / 2 else wait + period


def make_shares(before: Sequence[float], now: Sequence[float]) -> list[int]:
    """Each counter's part of what all grew by, in percent, cut; zeros when nothing grew.

    A kernel may take a little back (iowait does): that counts as no growth.
    """
    grown = [max(new - old, 0.0) for old, new in zip(before, now, strict=True)]
    total = sum(grown)
    if total <= 0:
        return [0] * len(grown)
    return [int(part * 100 / total) for part in grown]


class RateCounter(NamedTuple):
    """How much the counters of some devices grew, together and the busiest, in which time."""

    total: float
    most: float
    seconds: float

    def rate(self, unit: int = 1024) -> int:
        """Units a second, rounded up: a trickle is not nothing."""
        return -int(-self.total // (unit * self.seconds)) if self.seconds > 0 else 0


class CounterSample:
    """One counter of some devices, by name, as it was the last time."""

    def __init__(self) -> None:
        self._time: float | None = None
        self._values: Mapping[str, float] = {}

    def advance(self, values: Mapping[str, float], now: float) -> RateCounter:
        """Take new values. Zero for the first time.

        A device that is new has not grown yet. One whose counter went back was made anew (an
        interface taken down and up): no growth either.
        """
        old = self._values
        grown = [max(value - old[name], 0.0) for name, value in values.items() if name in old]
        seconds = 0.0 if self._time is None else max(now - self._time, 0.0)
        self._time, self._values = now, dict(values)
        return RateCounter(sum(grown), max(grown, default=0.0), seconds)
