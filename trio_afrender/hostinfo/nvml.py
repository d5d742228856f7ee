"""NVIDIA cards through the driver's own library (NVML): all of them, and parts of divided ones.

Each figure is asked for by itself, because each kind of card lacks some. Blocking, for as long as the
driver wants.
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
    """An open library. Errors of it as a whole come out as they are; those of a card are its own."""

    def __init__(self, library: Any, *, wall: Callable[[], float] = time.time) -> None:  # noqa: ANN401 - it has no types
        self._nvml = library
        self._wall = wall
        self._last_look: dict[str, int] = {}
        library.nvmlInit()

    def close(self) -> None:
        """Let go of the driver."""
        with suppress(self._nvml.NVMLError):
            self._nvml.nvmlShutdown()

    def read(self) -> tuple[GpuCard, ...]:
        """Measure all cards; one that is lost is left out, unless all are."""
        cards: list[GpuCard] = []
        lost: Exception | None = None
        for index in range(self._nvml.nvmlDeviceGetCount()):
            try:
                handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
                cards.extend(self._read_card(index, handle))
            except self._nvml.NVMLError as error:
                if not _is_of_card(error):
                    raise
                lost = error
        if lost is not None and not cards:
            raise lost
        return tuple(cards)

    def _read_card(self, index: int, handle: Any) -> Iterator[GpuCard]:  # noqa: ANN401
        parts = list(self._parts(handle))
        card = self._measure(index, handle)
        if not parts:
            yield attrs.evolve(
                card, util=self._util(handle), processes=self._processes(handle, card)
            )
        for number, part in parts:
            shown = self._measure(index, part)
            yield attrs.evolve(
                shown,
                part=number,
                name=shown.name or card.name,
                temp=card.temp,
                power_watt=card.power_watt,
                power_limit_watt=card.power_limit_watt,
                processes=self._processes(part, shown),
            )

    def _parts(self, handle: Any) -> Iterator[tuple[int, Any]]:  # noqa: ANN401
        mode = self._ask("nvmlDeviceGetMigMode", handle)
        if not mode or not mode[0]:
            return
        for number in range(self._ask("nvmlDeviceGetMaxMigDeviceCount", handle) or 0):
            part = self._ask("nvmlDeviceGetMigDeviceHandleByIndex", handle, number)
            if part is not None:
                yield number, part

    def _measure(self, index: int, handle: Any) -> GpuCard:  # noqa: ANN401
        # Memory is what every card tells: one that does not is lost.
        memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        power = self._ask("nvmlDeviceGetPowerUsage", handle)
        limit = self._ask("nvmlDeviceGetEnforcedPowerLimit", handle)
        return GpuCard(
            index=index,
            uuid=_text(self._ask("nvmlDeviceGetUUID", handle)),
            name=_text(self._ask("nvmlDeviceGetName", handle)),
            mem_total_mb=int(memory.total) // _MIB,
            mem_used_mb=int(memory.used) // _MIB,
            temp=self._ask("nvmlDeviceGetTemperature", handle, self._nvml.NVML_TEMPERATURE_GPU),
            power_watt=None if power is None else int(power) // 1000,
            power_limit_watt=None if limit is None else int(limit) // 1000,
        )

    def _util(self, handle: Any) -> int | None:  # noqa: ANN401
        rates = self._ask("nvmlDeviceGetUtilizationRates", handle)
        return None if rates is None else int(rates.gpu)

    def _processes(self, handle: Any, card: GpuCard) -> tuple[GpuProcess, ...]:  # noqa: ANN401
        memory: dict[int, int] = {}
        for kind in (
            "nvmlDeviceGetComputeRunningProcesses",
            "nvmlDeviceGetGraphicsRunningProcesses",
        ):
            for each in self._ask(kind, handle) or ():
                used = int(each.usedGpuMemory or 0) // _MIB  # None: the driver does not tell
                memory[int(each.pid)] = max(memory.get(int(each.pid), 0), used)
        percent = self._percents(handle, card)
        return tuple(
            GpuProcess(pid=pid, memory_mb=memory.get(pid, 0), percent=percent.get(pid, 0))
            for pid in sorted(memory)
        )

    def _percents(self, handle: Any, card: GpuCard) -> dict[int, int]:  # noqa: ANN401
        """The mean of what the driver sampled since the last look, by process."""
        since = self._last_look.get(card.uuid, 0)
        self._last_look[card.uuid] = int(self._wall() * 1e6)
        samples: dict[int, list[int]] = {}
        for each in self._ask("nvmlDeviceGetProcessUtilization", handle, since) or ():
            if each.pid:
                samples.setdefault(int(each.pid), []).append(int(each.smUtil))
        return {pid: round(sum(found) / len(found)) for pid, found in samples.items()}

    def _ask(self, name: str, *arguments: Any) -> Any:  # noqa: ANN401
        """Call the library; None for what the card, or the library, does not have."""
        function: Callable[..., Any] | None = getattr(self._nvml, name, None)
        if function is None:
            return None
        try:
            return function(*arguments)
        except self._nvml.NVMLError as error:
            if not _is_of_card(error):
                raise
            return None


def _is_of_card(error: Exception) -> bool:
    """Whether an error is about one card or figure, not about the driver as a whole."""
    return type(error).__name__ not in {
        "NVMLError_Uninitialized",
        "NVMLError_DriverNotLoaded",
        "NVMLError_LibRmVersionMismatch",
        "NVMLError_LibraryNotFound",
    }


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
