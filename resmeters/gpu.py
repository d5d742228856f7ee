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
    """What one card says; None for what it does not know, as cards cut in parts do."""

    name: str
    load: int | None = None
    used: int | None = None
    """MiB."""
    total: int | None = None
    temperature: int | None = None
    watts: float | None = None
    trouble: str = ""
    """Why it says nothing at all."""


def _start() -> Any:
    """The library, ready. Raises `ImportError` and its own errors."""
    import pynvml

    pynvml.nvmlInit()
    return pynvml


def read_gpus(nvml: Any) -> list[NvmlGpu]:
    """All cards. One that is sick costs its own line only; raises when the driver is gone."""
    gpus = []
    for number in range(nvml.nvmlDeviceGetCount()):
        try:
            gpus.append(_read_gpu(nvml, nvml.nvmlDeviceGetHandleByIndex(number)))
        except nvml.NVMLError as error:
            gpus.append(NvmlGpu(f"card {number}", trouble=str(error)))
    return gpus


def _read_gpu(nvml: Any, handle: object) -> NvmlGpu:
    def known(ask: Any, *args: object) -> Any:
        try:
            return ask(handle, *args)
        except nvml.NVMLError as error:
            if type(error).__name__ != "NVMLError_NotSupported":
                raise
            return None

    name = nvml.nvmlDeviceGetName(handle)
    memory = known(nvml.nvmlDeviceGetMemoryInfo)
    rates = known(nvml.nvmlDeviceGetUtilizationRates)
    power = known(nvml.nvmlDeviceGetPowerUsage)
    return NvmlGpu(
        name=name.decode(errors="replace") if isinstance(name, bytes) else str(name),
        load=int(rates.gpu) if rates is not None else None,
        used=int(memory.used) // MIB if memory is not None else None,
        total=int(memory.total) // MIB if memory is not None else None,
        temperature=known(nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU),
        watts=power / 1000 if power is not None else None,
    )


class gpu(resbase.resbase):
    """Percent of the busiest card; the label has a line for each."""

    def __init__(self) -> None:
        super().__init__()
        self._nvml: Any = None
        try:
            self._nvml = _start()
            self.valid = self._nvml.nvmlDeviceGetCount() > 0
        except Exception as error:  # noqa: BLE001 - NVML's errors come from a module that may be absent
            print(f"No NVIDIA card is measured: {error}")  # noqa: T201 - how plugins speak

    def update(self) -> None:
        try:
            gpus = read_gpus(self._nvml)
        except Exception:
            # A driver that was taken away and came back: begin anew, next time.
            self._nvml = _start()
            raise
        self.value = max((card.load or 0 for card in gpus), default=0)
        self.graphr, self.graphg, self.graphb = green_to_red(share_between(self.value, 50, 100))
        sick = any(card.trouble for card in gpus)
        self.labelr, self.labelg, self.labelb = (255, 64, 64) if sick else (255, 255, 0)
        self.height = 20 + 15 * len(gpus)
        self.label = "\n".join(map(_label, gpus))
        self.tooltip = "\n".join(f"{card.name}: {card.trouble or _label(card)}" for card in gpus)


def _label(card: NvmlGpu) -> str:
    if card.trouble:
        return f"{card.name}: error"
    parts = [
        f"{card.load}%" if card.load is not None else "",
        f"{card.used}/{card.total}M" if card.used is not None else "",
        f"{card.temperature}C" if card.temperature is not None else "",
        f"{card.watts:.0f}W" if card.watts is not None else "",
    ]
    return " ".join(filter(None, [card.name, *parts]))
