"""Fakes of NVIDIA's library (NVML) and of its GPUs, for hosts without either."""

from __future__ import annotations

import types
from collections.abc import Sequence

import attrs

from trio_afrender.hostinfo.nvml import Nvml

GIB = 1024**3


class NVMLError(Exception):
    pass


class NVMLError_NotSupported(NVMLError):
    pass


class NVMLError_GpuIsLost(NVMLError):
    pass


class NVMLError_DriverNotLoaded(NVMLError):
    pass


class NVMLError_LibraryNotFound(NVMLError):
    pass


class NVMLError_LibRmVersionMismatch(NVMLError):
    pass


@attrs.define(eq=False, kw_only=True)
class FakeCard:
    """A GPU, or a part of one (MIG)."""

    name: str | bytes = b"NVIDIA H200"
    uuid: str = "GPU-1"
    total: int = 141 * GIB
    used: int = 3 * GIB
    util: int = 42
    temp: int = 33
    power: int | None = 123_456
    processes: dict[int, int | None] = attrs.field(factory=dict)
    """Bytes of memory by pid; None: unknown, as on some drivers."""
    percents: list[tuple[int, int]] = attrs.field(factory=list)
    """Pid and utilization of each sample."""
    parts: list[FakeCard] = attrs.field(factory=list)
    lost: bool = False


@attrs.define(eq=False, slots=False)
class FakeLibrary(types.ModuleType):
    """NVML with the functions of its Python binding."""

    cards: list[FakeCard] = attrs.field(factory=lambda: [FakeCard()])
    driver_error: type[NVMLError] | None = None
    """The error that every call raises."""
    inits: int = 0
    closed: int = 0

    NVMLError = NVMLError
    NVML_TEMPERATURE_GPU = 0

    def __attrs_pre_init__(self) -> None:
        super().__init__("pynvml")

    def _check(self, card: FakeCard | None = None) -> None:
        if self.driver_error is not None:
            raise self.driver_error(self.driver_error.__name__)
        if card is not None and card.lost:
            raise NVMLError_GpuIsLost("GPU is lost")

    def nvmlInit(self) -> None:
        self.inits += 1
        self._check()

    def nvmlShutdown(self) -> None:
        self.closed += 1
        self._check()

    def nvmlDeviceGetCount(self) -> int:
        self._check()
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeCard:
        self._check(self.cards[index])
        return self.cards[index]

    def nvmlDeviceGetMemoryInfo(self, card: FakeCard) -> types.SimpleNamespace:
        self._check(card)
        return types.SimpleNamespace(total=card.total, used=card.used)

    def nvmlDeviceGetName(self, card: FakeCard) -> str | bytes:
        return card.name

    def nvmlDeviceGetUUID(self, card: FakeCard) -> str:
        return card.uuid

    def nvmlDeviceGetUtilizationRates(self, card: FakeCard) -> types.SimpleNamespace:
        if card.parts:
            raise NVMLError_NotSupported("Not Supported")
        return types.SimpleNamespace(gpu=card.util)

    def nvmlDeviceGetTemperature(self, card: FakeCard, kind: int) -> int:
        return card.temp

    def nvmlDeviceGetPowerUsage(self, card: FakeCard) -> int:
        if card.power is None:
            raise NVMLError_NotSupported("Not Supported")
        return card.power

    def nvmlDeviceGetMigMode(self, card: FakeCard) -> list[int]:
        return [int(bool(card.parts))] * 2

    def nvmlDeviceGetMaxMigDeviceCount(self, card: FakeCard) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, card: FakeCard, number: int) -> FakeCard:
        if number >= len(card.parts):
            raise NVMLError("Not Found")
        return card.parts[number]

    def nvmlDeviceGetComputeRunningProcesses(
        self, card: FakeCard
    ) -> Sequence[types.SimpleNamespace]:
        return [
            types.SimpleNamespace(pid=pid, usedGpuMemory=used)
            for pid, used in card.processes.items()
        ]

    def nvmlDeviceGetProcessUtilization(
        self, card: FakeCard, since: int
    ) -> Sequence[types.SimpleNamespace]:
        return [types.SimpleNamespace(pid=pid, smUtil=util) for pid, util in card.percents]


def open_nvml(*cards: FakeCard) -> Nvml:
    return Nvml(FakeLibrary(list(cards)))
