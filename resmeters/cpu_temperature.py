"""Temperature of the processor's hottest sensor."""

from __future__ import annotations

import psutil

from resmeters import resbase
from resmeters._colours import green_to_red, share_between

__all__ = ("cpu_temperature", "find_hottest")

CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "acpitz")
"""Kernel drivers of processor sensors, the most reliable first."""
DEFAULT_CRITICAL = 100.0
"""Degrees Celsius, for a sensor that reports no critical temperature."""
GREEN_SHARE = 0.5
"""Share of the critical temperature up to which the graph is green."""


def find_hottest() -> tuple[float, float] | None:
    """Return the hottest sensor's temperature and critical one, Celsius; None without sensors."""
    read = getattr(psutil, "sensors_temperatures", None)  # psutil has it on some systems only
    chips = read() if read is not None else {}
    name = next((chip for chip in CHIPS if chips.get(chip)), None)
    sensors = [each for each in chips.get(name, ()) if each.current and each.current > 0]
    if not sensors:
        return None
    hottest = max(sensors, key=lambda each: each.current)
    return float(hottest.current), float(hottest.critical or hottest.high or DEFAULT_CRITICAL)


class cpu_temperature(resbase.resbase):
    """Degrees Celsius; the graph ends at the sensor's critical temperature."""

    def __init__(self) -> None:
        super().__init__()
        self.valid = find_hottest() is not None
        self.height = 30

    def update(self) -> None:
        found = find_hottest()
        if found is None:
            raise RuntimeError("the processor's sensors are gone")
        degrees, critical = found
        self.value, self.valuemax = int(degrees), max(int(critical), 1)
        self.graphr, self.graphg, self.graphb = green_to_red(
            share_between(degrees, GREEN_SHARE * critical, critical)
        )
        self.label = f"CPU {degrees:.0f} C"
        self.tooltip = f"The hottest sensor of the processor: {degrees:.1f} of {critical:.0f} C."
