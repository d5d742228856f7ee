"""The temperature of the CPU, from the kernel's hwmon sensors."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import chain
from pathlib import Path

import psutil

from trio_afrender.hostinfo.cgroup_limits import read_small

__all__ = ("CpuTemperature",)

_CPU_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "acpitz")
_NOT_CPU = frozenset({"nvme", "drivetemp", "amdgpu", "nouveau", "radeon", "i915", "xe"})
_SEARCH_INTERVAL = 300.0
"""Seconds between searches for sensors, which find those of kernel modules loaded since."""


class CpuTemperature:
    """Reads the hottest sensor of the CPU, else of anything but disks and GPUs. Blocking."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, sys: str = "/sys") -> None:
        self._clock = clock
        self._chips = Path(sys) / "class" / "hwmon"
        self._inputs: tuple[Path, ...] = ()
        self._due = -math.inf

    @property
    def idle(self) -> bool:
        """Whether no sensor was found and the next search is not due yet."""
        return not self._inputs and self._clock() < self._due

    def read(self) -> int:
        """Return degrees Celsius; 0 without a sensor."""
        now = self._clock()
        if now >= self._due:
            by_chip: dict[str, list[Path]] = {}
            for chip in sorted(self._chips.iterdir()) if self._chips.is_dir() else ():
                name = read_small(f"{chip}/name").decode(errors="replace").strip()
                inputs = [*chip.glob("temp*_input"), *chip.glob("device/temp*_input")]
                by_chip.setdefault(name, []).extend(inputs)
            first = [path for name in _CPU_CHIPS for path in by_chip.get(name, ())]
            others = [by_chip[name] for name in by_chip if name not in _NOT_CPU]
            self._inputs = tuple(first or chain.from_iterable(others))
            if not self._inputs and hasattr(psutil, "sensors_temperatures"):  # without hwmon
                chips = psutil.sensors_temperatures()
                of_cpu = [each for name in _CPU_CHIPS for each in chips.get(name, ())]
                sensors = of_cpu or [each for found in chips.values() for each in found]
                hottest = max((each.current for each in sensors if each.current), default=0.0)
                if hottest >= 1:
                    return min(int(hottest), 127)
            self._due = now + _SEARCH_INTERVAL
        degrees = []
        for path in self._inputs:
            with suppress(ValueError):  # the sensor is broken
                degrees.append(int(read_small(f"{path}")) // 1000)
        # A sensor that is not connected gives a value outside of this range.
        return min(max((each for each in degrees if 0 < each < 150), default=0), 127)
