"""The processor's temperature, from the kernel's sensors."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import psutil

__all__ = ("CpuTemperature",)

_CPU_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "acpitz")
_SEARCH_INTERVAL = 300.0
"""Seconds between searches for sensors: a module may have been loaded. Reading them is cheaper."""


class CpuTemperature:
    """The hottest sensor of the processors, else of anything but disks and cards. Blocking."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, sys: str = "/sys") -> None:
        self._clock = clock
        self._chips = Path(sys) / "class" / "hwmon"
        self._inputs: tuple[Path, ...] = ()
        self._due = -math.inf

    @property
    def idle(self) -> bool:
        """Whether there is no sensor, and it is not yet time to search again."""
        return not self._inputs and self._clock() < self._due

    def read(self) -> int:
        """Degrees Celsius, 0 where nothing measures them."""
        now = self._clock()
        if now >= self._due:
            self._inputs = self._find() if self._chips.is_dir() else ()
            if not self._inputs and (degrees := self._ask_psutil()):
                return degrees
            self._due = now + _SEARCH_INTERVAL
        return min(max(map(_degrees, self._inputs), default=0), 127)

    def _find(self) -> tuple[Path, ...]:
        by_chip: dict[str, list[Path]] = {}
        for chip in sorted(self._chips.iterdir()):
            name = _text(chip / "name")
            inputs = [*chip.glob("temp*_input"), *chip.glob("device/temp*_input")]
            by_chip.setdefault(name, []).extend(inputs)
        of_cpu = [path for name in _CPU_CHIPS for path in by_chip.get(name, ())]
        if of_cpu:
            return tuple(of_cpu)
        others = {name: found for name, found in by_chip.items() if name not in _NOT_CPU}
        return tuple(path for found in others.values() for path in found)

    def _ask_psutil(self) -> int:
        if not hasattr(psutil, "sensors_temperatures"):
            return 0
        chips = psutil.sensors_temperatures()
        of_cpu = [each for name in _CPU_CHIPS for each in chips.get(name, ())]
        sensors = of_cpu or [each for found in chips.values() for each in found]
        hottest = max((each.current for each in sensors if each.current), default=0.0)
        return min(max(int(hottest), 0), 127)


_NOT_CPU = frozenset({"nvme", "drivetemp", "amdgpu", "nouveau", "radeon", "i915", "xe"})


def _degrees(path: Path) -> int:
    """One sensor; broken ones say 0, or nonsense, or refuse."""
    text = _text(path)
    try:
        degrees = int(text) // 1000
    except ValueError:
        return 0
    return degrees if 0 < degrees < 150 else 0


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return ""
