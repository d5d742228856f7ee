"""Load, memory, temperature and power of all NVIDIA cards, from the driver's own library."""

from __future__ import annotations

from typing import Any

import attrs

from resmeters import resbase
from resmeters._colours import green_to_red, share_between

__all__ = ("NvmlGpu", "gpu", "read_gpus")

MIB = 1024 * 1024


@attrs.frozen
class NvmlGpu:
    """Figures of one card; None for what it does not report, as divided cards (MIG) do."""

    name: str
    load: int | None = None
    used: int | None = None
    """MiB."""
    total: int | None = None
    temperature: int | None = None
    """Celsius."""
    watts: float | None = None
    error: str = ""
    """Why there are no figures at all."""


def _load_nvml() -> Any:
    """Return the initialized library. Raises `ImportError` and the library's errors."""
    import pynvml

    pynvml.nvmlInit()
    return pynvml


def read_gpus(nvml: Any) -> list[NvmlGpu]:
    """Read all cards. A card that fails has an `error`; raises only if the driver is gone."""
    gpus = []
    for number in range(nvml.nvmlDeviceGetCount()):
        try:
            gpus.append(_read_gpu(nvml, nvml.nvmlDeviceGetHandleByIndex(number)))
        except nvml.NVMLError as error:
            gpus.append(NvmlGpu(f"card {number}", error=str(error)))
    return gpus


def _read_gpu(nvml: Any, handle: object) -> NvmlGpu:
    def read(function: Any, *args: object) -> Any:
        try:
            return function(handle, *args)
        except nvml.NVMLError as error:
            if type(error).__name__ != "NVMLError_NotSupported":
                raise
            return None

    name = nvml.nvmlDeviceGetName(handle)
    memory = read(nvml.nvmlDeviceGetMemoryInfo)
    rates = read(nvml.nvmlDeviceGetUtilizationRates)
    power = read(nvml.nvmlDeviceGetPowerUsage)
    return NvmlGpu(
        name=name.decode(errors="replace") if isinstance(name, bytes) else str(name),
        load=int(rates.gpu) if rates is not None else None,
        used=int(memory.used) // MIB if memory is not None else None,
        total=int(memory.total) // MIB if memory is not None else None,
        temperature=read(nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU),
        watts=power / 1000 if power is not None else None,
    )


class gpu(resbase.resbase):
    """Percent of the busiest card; the label has a line for each card."""

    def __init__(self) -> None:
        super().__init__()
        self._nvml: Any = None
        try:
            self._nvml = _load_nvml()
            self.valid = self._nvml.nvmlDeviceGetCount() > 0
        except Exception as error:  # noqa: BLE001 - NVML's errors come from a module that may be absent
            print(f"No NVIDIA card is measured: {error}")  # noqa: T201 - what plugins print is reported

    def update(self) -> None:
        try:
            gpus = read_gpus(self._nvml)
        except Exception:
            # After the driver was unloaded and loaded again, the next update can succeed.
            self._nvml = _load_nvml()
            raise
        self.value = max((card.load or 0 for card in gpus), default=0)
        self.graphr, self.graphg, self.graphb = green_to_red(share_between(self.value, 50, 100))
        failed = any(card.error for card in gpus)
        self.labelr, self.labelg, self.labelb = (255, 64, 64) if failed else (255, 255, 0)
        self.height = 20 + 15 * len(gpus)
        self.label = "\n".join(map(_label, gpus))
        self.tooltip = "\n".join(f"{card.name}: {card.error or _label(card)}" for card in gpus)


def _label(card: NvmlGpu) -> str:
    if card.error:
        return f"{card.name}: error"
    parts = [
        f"{card.load}%" if card.load is not None else "",
        f"{card.used}/{card.total}M" if card.used is not None else "",
        f"{card.temperature}C" if card.temperature is not None else "",
        f"{card.watts:.0f}W" if card.watts is not None else "",
    ]
    return " ".join(filter(None, [card.name, *parts]))
