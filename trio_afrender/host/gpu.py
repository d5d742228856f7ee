"""The first NVIDIA card, if there is one, its driver and the Python binding."""

from __future__ import annotations

import logging
from typing import Any

import attrs

__all__ = ("Gpu", "GpuLoad")

_log = logging.getLogger(__name__)
_MIB = 1024 * 1024


@attrs.frozen(slots=True, kw_only=True)
class GpuLoad:
    """One measurement; all zero and no name where there is no card."""

    util: int = 0
    temp: int = 0
    mem_total_mb: int = 0
    mem_used_mb: int = 0
    name: str = ""


class Gpu:
    """Reads card 0. Loads the driver's library at the first call; blocks while the driver does."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._absent = False
        self._failing = False

    def read(self) -> GpuLoad:
        """Measure. Never raises; an absent card is not looked for again, a sick one is."""
        if self._absent:
            return GpuLoad()
        try:
            return self._read()
        except ImportError:
            self._absent = True
        except Exception as error:  # noqa: BLE001 - NVML errors come from a module that may be absent
            self._judge(error)
        return GpuLoad()

    def _read(self) -> GpuLoad:
        if self._nvml is None:
            import pynvml

            pynvml.nvmlInit()
            self._nvml = pynvml
        nvml = self._nvml
        card = nvml.nvmlDeviceGetHandleByIndex(0)
        memory = nvml.nvmlDeviceGetMemoryInfo(card)
        name = nvml.nvmlDeviceGetName(card)
        load = GpuLoad(
            util=int(nvml.nvmlDeviceGetUtilizationRates(card).gpu),
            temp=int(nvml.nvmlDeviceGetTemperature(card, nvml.NVML_TEMPERATURE_GPU)),
            mem_total_mb=int(memory.total) // _MIB,
            mem_used_mb=int(memory.used) // _MIB,
            name=name.decode(errors="replace") if isinstance(name, bytes) else str(name),
        )
        self._failing = False
        return load

    def _judge(self, error: Exception) -> None:
        kind = type(error).__name__
        if self._nvml is None or kind == "NVMLError_NotFound":
            self._absent = True  # no driver, or a driver without a card
            _log.debug("no GPU is measured: %s", error)
        elif not self._failing:
            self._failing = True
            _log.warning("the GPU cannot be measured now: %s", error)
