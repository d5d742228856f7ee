"""NVIDIA GPUs through the driver's library (NVML), each MIG instance as a GPU of its own.

Each figure is queried by itself, because every kind of GPU lacks some. The calls block, without a
time limit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import attrs

from trio_afrender.protocol.messages import GpuCard, GpuProcess

__all__ = ("Nvml",)

_MIB = 1024 * 1024


class Nvml:
    """An initialized NVML. Errors of the driver are raised unchanged; of one GPU they are caught."""

    def __init__(self, library: Any, *, wall: Callable[[], float] = time.time) -> None:  # noqa: ANN401 - it has no types
        self._nvml = library
        self._wall = wall
        self._last_read: dict[
            str, int
        ] = {}  # by UUID, microseconds of wall time: the driver's unit
        library.nvmlInit()

    def close(self) -> None:
        """Shut the library down; errors are ignored."""
        with suppress(self._nvml.NVMLError):
            self._nvml.nvmlShutdown()

    def read(self) -> tuple[GpuCard, ...]:
        """Measure all GPUs. A lost one is left out; if all are lost, its error is raised."""
        gpus: list[GpuCard] = []
        lost: Exception | None = None
        for index in range(self._nvml.nvmlDeviceGetCount()):
            try:
                handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
                gpus.extend(self._read_gpu(index, handle))
            except self._nvml.NVMLError as error:
                if not _is_of_one_gpu(error):
                    raise
                lost = error
        if lost is not None and not gpus:
            raise lost
        return tuple(gpus)

    def _read_gpu(self, index: int, handle: Any) -> Iterator[GpuCard]:  # noqa: ANN401
        """Yield the GPU, or its MIG instances, which have the GPU's temperature and power."""
        mode = self._query("nvmlDeviceGetMigMode", handle)
        most = self._query("nvmlDeviceGetMaxMigDeviceCount", handle) if mode and mode[0] else 0
        instances = {
            number: self._query("nvmlDeviceGetMigDeviceHandleByIndex", handle, number)
            for number in range(most or 0)
        }
        instances = {number: found for number, found in instances.items() if found is not None}
        gpu = self._measure(index, handle)
        if not instances:
            rates = self._query("nvmlDeviceGetUtilizationRates", handle)
            util = None if rates is None else int(rates.gpu)
            yield attrs.evolve(gpu, util=util, processes=self._processes(handle, gpu))
        for number, instance in instances.items():
            measured = self._measure(index, instance)
            yield attrs.evolve(
                measured,
                part=number,
                name=measured.name or gpu.name,
                temp=gpu.temp,
                power_watt=gpu.power_watt,
                power_limit_watt=gpu.power_limit_watt,
                processes=self._processes(instance, measured),
            )

    def _measure(self, index: int, handle: Any) -> GpuCard:  # noqa: ANN401
        # Every GPU reports its memory, so an error here is not caught: the GPU is lost.
        memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        power = self._query("nvmlDeviceGetPowerUsage", handle)
        limit = self._query("nvmlDeviceGetEnforcedPowerLimit", handle)
        return GpuCard(
            index=index,
            uuid=_text(self._query("nvmlDeviceGetUUID", handle)),
            name=_text(self._query("nvmlDeviceGetName", handle)),
            mem_total_mb=int(memory.total) // _MIB,
            mem_used_mb=int(memory.used) // _MIB,
            temp=self._query("nvmlDeviceGetTemperature", handle, self._nvml.NVML_TEMPERATURE_GPU),
            power_watt=None if power is None else int(power) // 1000,
            power_limit_watt=None if limit is None else int(limit) // 1000,
        )

    def _processes(self, handle: Any, gpu: GpuCard) -> tuple[GpuProcess, ...]:  # noqa: ANN401
        memory: dict[int, int] = {}
        for kind in (
            "nvmlDeviceGetComputeRunningProcesses",
            "nvmlDeviceGetGraphicsRunningProcesses",
        ):
            for each in self._query(kind, handle) or ():
                used = int(each.usedGpuMemory or 0) // _MIB  # None: not reported
                memory[int(each.pid)] = max(memory.get(int(each.pid), 0), used)
        since = self._last_read.get(gpu.uuid, 0)
        self._last_read[gpu.uuid] = int(self._wall() * 1e6)
        samples: dict[int, list[int]] = {}
        for each in self._query("nvmlDeviceGetProcessUtilization", handle, since) or ():
            if each.pid:  # 0: time of no process
                samples.setdefault(int(each.pid), []).append(int(each.smUtil))
        # The percent is the mean utilization since the last measurement.
        percent = {pid: round(sum(found) / len(found)) for pid, found in samples.items()}
        return tuple(
            GpuProcess(pid=pid, memory_mb=memory[pid], percent=percent.get(pid, 0))
            for pid in sorted(memory)
        )

    def _query(self, name: str, *arguments: Any) -> Any:  # noqa: ANN401
        """Call a function of the library; None if the GPU or the library does not have it."""
        function: Callable[..., Any] | None = getattr(self._nvml, name, None)
        if function is None:
            return None
        try:
            return function(*arguments)
        except self._nvml.NVMLError as error:
            if not _is_of_one_gpu(error):
                raise
            return None


def _is_of_one_gpu(error: Exception) -> bool:
    """Whether an error is about one GPU or figure, not about the driver as a whole."""
    return type(error).__name__ not in {
        "NVMLError_Uninitialized",
        "NVMLError_DriverNotLoaded",
        "NVMLError_LibRmVersionMismatch",
        "NVMLError_LibraryNotFound",
    }


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
