"""Measures the GPUs of this host, also while their driver is missing, installed or failing.

There are three backends: a command from the host's settings; the driver's library (NVML); the
driver's program, where the library cannot be loaded. Without a driver the search is repeated after
a minute, because a driver can be installed or loaded meanwhile. A driver that fails leaves only the
GPU fields empty.
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
from trio_afrender.hostinfo.nvidia_smi import NvidiaSmi, parse_first_gpu, run_program
from trio_afrender.hostinfo.nvml import Nvml
from trio_afrender.hostinfo.process_usage import GpuShare
from trio_afrender.protocol.messages import CustomMeter, GpuCard
from trio_afrender.text import printable

__all__ = (
    "GpuSampler",
    "classic_fields",
    "gpu_meters",
    "has_library",
    "is_unclaimed",
    "shares_of",
)

_log = logging.getLogger(__name__)
_SEARCH_INTERVAL = 60.0
"""Seconds between searches for a driver."""
_MIB = 1024**2


class _GpuBackend(Protocol):
    def read(self) -> tuple[GpuCard, ...]: ...

    def close(self) -> None: ...


class _Command:
    """Runs a command from the host's settings, for the first GPU of any vendor."""

    def __init__(self, command: str, shell: Sequence[str]) -> None:
        self._argv = (*shell, command)

    def read(self) -> tuple[GpuCard, ...]:
        printed = run_program(self._argv)
        cards = parse_first_gpu(printed)
        if not cards and (words := printed.split()):
            raise OSError(
                "the command of the settings printed no line of load, temperature, memory,"
                f" memory used and name: {printable(' '.join(words), 200)}"
            )
        return cards

    def close(self) -> None:
        """Do nothing: the command has ended."""


class GpuSampler:
    """Measures the GPUs. Blocks as long as their driver does; one call at a time."""

    def __init__(
        self,
        command: str = "",
        shell: Sequence[str] = ("/bin/sh", "-c"),
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # CGRU's default command runs nvidia-smi, which is slower than the library and knows less.
        self._command = "" if command.split()[:1] == ["nvidia-smi"] else command
        self._shell = shell
        self._clock = clock
        self._backend: _GpuBackend | None = None
        self._due = -math.inf
        self._last_error = ""

    @property
    def idle(self) -> bool:
        """Whether there is no driver and the next search is not due yet."""
        return self._backend is None and not self._last_error and self._clock() < self._due

    def read(self) -> tuple[GpuCard, ...]:
        """Measure all GPUs; () without a driver. Raises OSError if the driver fails."""
        if self._backend is None and self._clock() < self._due:
            if self._last_error:
                raise OSError(self._last_error)
            return ()
        lost = self._backend
        try:
            if self._backend is None:
                self._backend = self._choose_backend()
            gpus = self._backend.read() if self._backend is not None else ()
        except Exception as error:  # the library's errors come from a module that may be absent
            problem = str(error) or type(error).__name__
            if problem != self._last_error:
                verb = "cannot be measured" if lost is None else "can no longer be measured"
                _log.warning("GPUs %s: %s", verb, problem)
            self._last_error = problem
            if self._backend is not None:
                self._backend.close()
            self._backend, self._due = None, self._clock() + _SEARCH_INTERVAL
            raise OSError(problem) from error
        self._last_error = ""
        if self._backend is None:
            self._due = self._clock() + _SEARCH_INTERVAL
        return gpus

    def _choose_backend(self) -> _GpuBackend | None:
        """Return the first backend that works, None without a driver.

        Raises the library's own error for a driver that is there and fails.
        """
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
            raise

    def _find_program(self, problem: str) -> _GpuBackend | None:
        if shutil.which("nvidia-smi") is None:
            _log.debug("no GPU is measured: %s, and there is no nvidia-smi", problem)
            return None
        _log.info("GPUs are measured with nvidia-smi: %s", problem)
        return NvidiaSmi()


def has_library() -> bool:
    """Whether the driver's library can be loaded."""
    # Checked before the import of its Python binding, which takes 3 MiB: most hosts have no GPU.
    if not Path("/proc/self/stat").exists():
        return True  # on other systems the binding searches by itself
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return False
    return True


def classic_fields(gpus: Sequence[GpuCard]) -> Mapping[str, object]:
    """Return Afanasy's five GPU fields: those of the first GPU, its MIG instances added up."""
    if not gpus:
        return {}
    first = [gpu for gpu in gpus if gpu.index == gpus[0].index]
    return {
        "gpu_gpu_util": min(max((gpu.util or 0 for gpu in first), default=0), 100),
        "gpu_gpu_temp": min(max(first[0].temp or 0, 0), 127),
        "gpu_mem_total_mb": sum(gpu.mem_total_mb for gpu in first),
        "gpu_mem_used_mb": sum(gpu.mem_used_mb for gpu in first),
        "gpu_string": shorten_cpu(first[0].name),
    }


def gpu_meters(gpus: Sequence[GpuCard]) -> tuple[CustomMeter, ...]:
    """Return a custom meter for each of several GPUs, since Afanasy has fields for one alone."""
    meters: list[CustomMeter] = []
    for gpu in gpus if len(gpus) > 1 else ():
        part = "" if gpu.part is None else f".{gpu.part}"
        share = gpu.mem_used_mb / gpu.mem_total_mb if gpu.mem_total_mb else 0.0
        util = "" if gpu.util is None else f" {gpu.util}%"
        temp = "" if gpu.temp is None else f" {gpu.temp}C"
        power = "" if gpu.power_watt is None else f", {gpu.power_watt} W"
        count = len(gpu.processes)
        meter = CustomMeter(
            value=gpu.mem_used_mb,
            valuemax=max(gpu.mem_total_mb, 1),
            graphr=int(255 * min(share, 1.0)),
            graphg=int(255 * (1.0 - min(share, 1.0))),
            label=f"GPU{gpu.index}{part}{util}{temp}",
            tooltip=(
                f"{shorten_cpu(gpu.name)}\n{gpu.mem_used_mb} of {gpu.mem_total_mb} MiB{power},"
                f" {count} process{'es' if count != 1 else ''}"
            ),
        )
        meters.append(meter)
    return tuple(meters)


def shares_of(gpus: Sequence[GpuCard]) -> dict[int, GpuShare]:
    """Return what each process uses of all GPUs together, by pid."""
    found: dict[int, GpuShare] = {}
    for gpu in gpus:
        for each in gpu.processes:
            old = found.get(each.pid, GpuShare())
            found[each.pid] = GpuShare(
                memory=old.memory + each.memory_mb * _MIB, percent=old.percent + each.percent
            )
    return found


def is_unclaimed(gpus: Sequence[GpuCard], exists: Callable[[int], bool]) -> bool:
    """Whether a GPU works, or may work, for a process that the driver does not report.

    `exists` tells whether a pid exists here. A driver without accounting reports no utilization by
    process, and in a container it reports pids of the host, which do not exist here. A MIG instance
    has no utilization at all, so used memory counts instead.
    """
    return any(
        gpu.mem_used_mb > 0
        if gpu.util is None
        else gpu.util > 0
        and not any(each.percent > 0 and exists(each.pid) for each in gpu.processes)
        for gpu in gpus
    )
