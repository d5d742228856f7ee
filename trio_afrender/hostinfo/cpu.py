"""CPU: usable processors, clock rate, load and utilization since the last measurement."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from trio_afrender.hostinfo.cgroup_limits import CgroupLimits, read_small
from trio_afrender.hostinfo.rates import make_shares

__all__ = ("STATES", "Processors")

STATES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq")
_CLOCK_INTERVAL = 60.0
"""Seconds between readings of the clock rate; each wakes every idle core."""


class Processors:
    """Measures the CPU. Utilization is since the measurement before; the first since boot."""

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, sys: str = "/sys", proc: str = "/proc"
    ) -> None:
        self._clock = clock
        self._sys, self._proc = Path(sys), Path(proc)
        self._times: tuple[float, ...] = (0.0,) * len(STATES)
        self._group: tuple[float, float, float] | None = None
        self._mhz = 0
        self._due = -math.inf

    def count(self, limits: CgroupLimits) -> int:
        """Return how many processors this process may use, by affinity and quota; at least 1."""
        found = psutil.cpu_count() or 1
        found = min(found, len(_affinity()) or found)
        if limits.processors is not None:
            found = min(found, math.ceil(limits.processors))
        return max(found, 1)

    def shares(self, limits: CgroupLimits) -> Mapping[str, int]:
        """Return percents by the names of `STATES`; empty if no time has passed.

        Under a CPU quota they are percents of the quota: a group that uses all of it is 100 %
        busy, also on an idle machine. With an affinity they are about its processors.
        """
        if limits.processors is not None and limits.processors < (psutil.cpu_count() or 1):
            return self._group_shares(limits, limits.processors)
        ours = _affinity()
        if not ours or len(ours) >= (psutil.cpu_count() or 1):
            used = [psutil.cpu_times()]
        else:
            each = psutil.cpu_times(percpu=True)
            used = [each[number] for number in ours if number < len(each)]
        now = tuple(float(sum(getattr(one, state, 0.0) for one in used)) for state in STATES)
        if any(map(math.isnan, now)):
            return {}
        shares = make_shares(self._times, now)
        self._times = now
        return dict(zip(STATES, shares, strict=True)) if any(shares) else {}

    def _group_shares(self, limits: CgroupLimits, quota: float) -> Mapping[str, int]:
        now = self._clock(), limits.cpu_user, limits.cpu_system
        before, self._group = self._group, now
        if before is None or now[0] <= before[0]:
            return {}
        whole = (now[0] - before[0]) * quota
        user, system = (
            min(max(new - old, 0.0) / whole, 1.0)
            for new, old in zip(now[1:], before[1:], strict=True)
        )
        system = min(system, 1.0 - user)
        idle = 1.0 - user - system
        return {"user": int(user * 100), "system": int(system * 100), "idle": int(idle * 100)}

    def load(self) -> tuple[int, int, int]:
        """Return the load averages of 1, 5 and 15 minutes times ten, at most 255 (Afanasy's unit)."""
        one, five, fifteen = (min(max(int(each * 10), 0), 255) for each in psutil.getloadavg())
        return one, five, fifteen

    def mhz(self) -> int:
        """Return the maximal clock rate, or where the kernel has none, the highest rate measured."""
        now = self._clock()
        if now < self._due:
            return self._mhz
        policies = self._sys.glob("devices/system/cpu/cpufreq/policy*")
        texts = [read_small(f"{policy}/cpuinfo_max_freq").strip() for policy in policies]
        rates = [int(text) / 1000 for text in texts if text.isdigit()]  # from kHz
        if not any(rates):
            try:
                text = (self._proc / "cpuinfo").read_text(errors="replace")
            except OSError:
                with suppress(AttributeError, OSError, RuntimeError):  # this system reports no rate
                    frequency = psutil.cpu_freq()
                    rates = [frequency.max, frequency.current]
            else:
                pattern = r"^(?:cpu MHz|clock)\s*:\s*([\d.]+)"
                rates = list(map(float, re.findall(pattern, text, re.MULTILINE)))
        # The maximum over time, because idle cores are clocked down.
        self._mhz = max(self._mhz, *map(int, rates), 0)
        self._due = now + _CLOCK_INTERVAL
        return self._mhz


def _affinity() -> set[int]:
    """Return the processors that this process may run on; empty if the system has no such call."""
    try:
        return os.sched_getaffinity(0)
    except AttributeError:  # not on this system
        return set()
