"""All cards of this host, whatever becomes of their driver.

Which way they are read by: a command of the host's settings; the driver's library; the driver's
program, where the library cannot be loaded. A driver that is not there is looked for again after
a minute: it may be installed, or loaded, while we run. One that dies costs its figures alone.
"""

from __future__ import annotations

import ctypes
import importlib
import logging
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from trio_afrender.hostinfo.identity import shorten_cpu
from trio_afrender.hostinfo.nvidia_smi import NvidiaSmi, parse_first_card, run_program
from trio_afrender.hostinfo.nvml import Nvml
from trio_afrender.hostinfo.process_usage import GpuShare
from trio_afrender.protocol.messages import CustomMeter, GpuCard

__all__ = (
    "GpuSampler",
    "card_meters",
    "classic_fields",
    "has_library",
    "is_unclaimed",
    "shares_of",
)

_log = logging.getLogger(__name__)
_SEARCH_INTERVAL = 60.0
_MIB = 1024**2


class _Way(Protocol):
    def read(self) -> tuple[GpuCard, ...]: ...

    def close(self) -> None: ...


class _Command:
    """A command of the host's settings, for the first card of any maker."""

    def __init__(self, command: str, shell: Sequence[str]) -> None:
        self._argv = (*shell, command)

    def read(self) -> tuple[GpuCard, ...]:
        return parse_first_card(run_program(self._argv))

    def close(self) -> None:
        """Nothing is held."""


class GpuSampler:
    """Measures the cards. Blocks for as long as their driver does; one call at a time."""

    def __init__(
        self,
        command: str = "",
        shell: Sequence[str] = ("/bin/sh", "-c"),
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._command = "" if command.split()[:1] == ["nvidia-smi"] else command
        self._shell = shell
        self._clock = clock
        self._way: _Way | None = None
        self._due = -math.inf
        self._last_error = ""

    @property
    def idle(self) -> bool:
        """Whether there is nothing to measure, and it is not yet time to look again."""
        return self._way is None and not self._last_error and self._clock() < self._due

    def read(self) -> tuple[GpuCard, ...]:
        """Measure; () where there is nothing to measure. Raises OSError for a driver that died."""
        if self._way is None and self._clock() < self._due:
            if self._last_error:
                raise OSError(self._last_error)
            return ()
        had = self._way is not None
        try:
            if self._way is None:
                self._way = self._find()
            cards = self._way.read() if self._way is not None else ()
        except Exception as error:  # the library's errors come from a module that may be absent
            self._fail(str(error) or type(error).__name__, lost=had)
            raise OSError(str(error) or type(error).__name__) from error
        self._last_error = ""
        if self._way is None:
            self._due = self._clock() + _SEARCH_INTERVAL
        return cards

    def _find(self) -> _Way | None:
        if self._command:
            return _Command(self._command, self._shell)
        if not has_library():
            return self._find_program("the driver's library is not on this host")
        try:
            library = importlib.import_module("pynvml")
        except ImportError:
            return self._find_program("the library's binding is not installed")
        try:
            return Nvml(library)
        except library.NVMLError as error:
            kind = type(error).__name__
            if kind in {"NVMLError_LibraryNotFound", "NVMLError_FunctionNotFound"}:
                return self._find_program(str(error))
            if kind in {"NVMLError_DriverNotLoaded", "NVMLError_NotFound"}:
                _log.debug("no GPU is measured: %s", error)
                return None
            raise  # a driver that is there, and sick

    def _find_program(self, problem: str) -> _Way | None:
        if shutil.which("nvidia-smi") is None:
            _log.debug("no GPU is measured: %s, and there is no nvidia-smi", problem)
            return None
        _log.info("GPUs are measured with nvidia-smi: %s", problem)
        return NvidiaSmi()

    def _fail(self, problem: str, *, lost: bool) -> None:
        """Say once what is wrong; begin anew in a minute."""
        if problem != self._last_error:
            verb = "can no longer be measured" if lost else "cannot be measured"
            _log.warning("GPUs %s: %s", verb, problem)
        self._last_error = problem
        if self._way is not None:
            self._way.close()
        self._way, self._due = None, self._clock() + _SEARCH_INTERVAL


def has_library() -> bool:
    """Whether the driver's library can be loaded. Its binding takes 3 MiB, for nothing on most hosts."""
    if not Path("/proc/self/stat").exists():
        return True  # on other systems the binding knows where to look
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return False
    return True


def classic_fields(cards: Sequence[GpuCard]) -> Mapping[str, object]:
    """The five fields that Afanasy knows: those of the first card, its parts added up."""
    if not cards:
        return {}
    first = [card for card in cards if card.index == cards[0].index]
    return {
        "gpu_gpu_util": min(max((card.util or 0 for card in first), default=0), 100),
        "gpu_gpu_temp": min(max(first[0].temp or 0, 0), 127),
        "gpu_mem_total_mb": sum(card.mem_total_mb for card in first),
        "gpu_mem_used_mb": sum(card.mem_used_mb for card in first),
        "gpu_string": shorten_cpu(first[0].name),
    }


def card_meters(cards: Sequence[GpuCard]) -> tuple[CustomMeter, ...]:
    """A meter for each card, where there are several: Afanasy itself knows of one alone."""
    return tuple(map(_meter, cards)) if len(cards) > 1 else ()


def _meter(card: GpuCard) -> CustomMeter:
    part = "" if card.part is None else f".{card.part}"
    share = card.mem_used_mb / card.mem_total_mb if card.mem_total_mb else 0.0
    util = "" if card.util is None else f" {card.util}%"
    temp = "" if card.temp is None else f" {card.temp}C"
    power = "" if card.power_watt is None else f", {card.power_watt} W"
    many = len(card.processes)
    return CustomMeter(
        value=card.mem_used_mb,
        valuemax=max(card.mem_total_mb, 1),
        graphr=int(255 * min(share, 1.0)),
        graphg=int(255 * (1.0 - min(share, 1.0))),
        label=f"GPU{card.index}{part}{util}{temp}",
        tooltip=(
            f"{shorten_cpu(card.name)}\n{card.mem_used_mb} of {card.mem_total_mb} MiB{power},"
            f" {many} process{'es' if many != 1 else ''}"
        ),
    )


def shares_of(cards: Sequence[GpuCard]) -> dict[int, GpuShare]:
    """What each process has of all cards together."""
    found: dict[int, GpuShare] = {}
    for card in cards:
        for each in card.processes:
            old = found.get(each.pid, GpuShare())
            found[each.pid] = GpuShare(
                memory=old.memory + each.memory_mb * _MIB, percent=old.percent + each.percent
            )
    return found


def is_unclaimed(cards: Sequence[GpuCard], exists: Callable[[int], bool]) -> bool:
    """Whether a card works, or may work, for somebody whom the driver does not name.

    It names nobody without accounting, and processes by the machine's numbers, which in a container
    are nobody's; of a part of a card it tells nothing at all.
    """
    return any(
        card.mem_used_mb > 0
        if card.util is None
        else card.util > 0
        and not any(each.percent > 0 and exists(each.pid) for each in card.processes)
        for card in cards
    )
