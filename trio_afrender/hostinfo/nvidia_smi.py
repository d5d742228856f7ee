"""NVIDIA GPUs through the program nvidia-smi, for hosts where the driver's library cannot be loaded."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from trio_afrender.process.environment import find_inheritable
from trio_afrender.protocol.messages import GpuCard, GpuProcess

__all__ = ("NvidiaSmi", "parse_first_gpu", "parse_gpus", "parse_processes")

_GPUS = "index,uuid,name,utilization.gpu,memory.total,memory.used,temperature.gpu,power.draw,power.limit"
_PROCESSES = "gpu_uuid,pid,used_gpu_memory"
RUN_TIMEOUT = 10.0
"""Seconds that the program may take; two are usual where the driver is loaded anew for each call."""


def run_program(argv: Sequence[str]) -> str:
    """Return the output of `argv`. Raises OSError, also if it fails or takes too long. Blocking."""
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=find_inheritable(os.environ),
        start_new_session=True,
    ) as process:
        try:
            printed, errors = process.communicate(timeout=RUN_TIMEOUT)
        except subprocess.TimeoutExpired:
            _kill_group(process)
            raise OSError(f"{argv[0]} gave no answer in {RUN_TIMEOUT:g} s") from None
    if process.returncode:
        words = (printed + errors).decode(errors="replace").split()
        raise OSError(f"{argv[0]} failed with {process.returncode}: {' '.join(words)[:200]}")
    return printed.decode(errors="replace")


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a command with what its shell has started: else one more would stay at each try."""
    if not hasattr(os, "killpg"):  # Windows
        process.kill()
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


class NvidiaSmi:
    """Runs nvidia-smi for each measurement, which takes about 50 ms of CPU. Blocking."""

    def __init__(self, run: Callable[[Sequence[str]], str] = run_program) -> None:
        self._run = run

    def read(self) -> tuple[GpuCard, ...]:
        """Measure all GPUs. Raises OSError."""
        form = "--format=csv,noheader,nounits"
        gpus = self._run(["nvidia-smi", f"--query-gpu={_GPUS}", form])
        processes = self._run(["nvidia-smi", f"--query-compute-apps={_PROCESSES}", form])
        return parse_gpus(gpus, parse_processes(processes))

    def close(self) -> None:
        """Do nothing: the program has ended."""


def parse_gpus(text: str, processes: dict[str, tuple[GpuProcess, ...]]) -> tuple[GpuCard, ...]:
    """Parse lines of nine values in the order of `_GPUS`; ``[N/A]`` becomes None."""
    found = []
    for row in _rows(text, 9):
        index, uuid, name, *figures = row
        util, total, used, temp, power, limit = map(_figure, figures)
        found.append(
            GpuCard(
                index=_figure(index) or 0,
                uuid=uuid,
                name=name,
                util=util,
                mem_total_mb=total or 0,
                mem_used_mb=used or 0,
                temp=temp,
                power_watt=power,
                power_limit_watt=limit,
                processes=processes.get(uuid, ()),
            )
        )
    return tuple(found)


def parse_processes(text: str) -> dict[str, tuple[GpuProcess, ...]]:
    """Parse lines of GPU, pid, memory; the result is by the UUID of the GPU."""
    found: dict[str, tuple[GpuProcess, ...]] = {}
    for uuid, pid, memory in _rows(text, 3):
        if (number := _figure(pid)) is not None:
            process = GpuProcess(pid=number, memory_mb=_figure(memory) or 0)
            found[uuid] = (*found.get(uuid, ()), process)
    return found


def parse_first_gpu(text: str) -> tuple[GpuCard, ...]:
    """Parse a line in the format of Afanasy's own command: load, temperature, memory, used, name.

    A line without any figure, such as one of titles, is none.
    """
    for *figures, name in _rows(text, 5):
        util, temp, total, used = map(_figure, figures)
        if (util, temp, total, used) != (None, None, None, None):
            return (
                GpuCard(
                    name=name, util=util, temp=temp, mem_total_mb=total or 0, mem_used_mb=used or 0
                ),
            )
    return ()


def _rows(text: str, columns: int) -> Iterator[list[str]]:
    """Yield the first `columns` values of each CSV line; skip shorter lines."""
    for row in csv.reader(text.splitlines(), skipinitialspace=True):
        if len(row) >= columns:
            yield [value.strip() for value in row[:columns]]


def _figure(text: str) -> int | None:
    try:
        return int(float(text))
    except (ValueError, OverflowError):
        return None
