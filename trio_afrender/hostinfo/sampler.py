"""Measures the load of the host: all of Afanasy's fields, from sources that fail independently.

Percents and rates are about the time since the measurement before; the first one has percents
since boot and no rates. Times come from the monotonic clock, so a step of the wall clock has no
effect.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import psutil
import trio

from trio_afrender.config import Config
from trio_afrender.hostinfo.cgroup_limits import CgroupLimits, CgroupReader
from trio_afrender.hostinfo.cpu import STATES, Processors
from trio_afrender.hostinfo.gpu import (
    GpuSampler,
    classic_fields,
    gpu_meters,
    is_unclaimed,
    shares_of,
)
from trio_afrender.hostinfo.identity import find_hw_info
from trio_afrender.hostinfo.io_counters import Disks, Nets
from trio_afrender.hostinfo.memory import read_memory
from trio_afrender.hostinfo.process_usage import GpuShare
from trio_afrender.hostinfo.source import Fields, MetricSource, measure_sources
from trio_afrender.hostinfo.temperature import CpuTemperature
from trio_afrender.protocol.messages import HostResources

__all__ = ("Sampler", "SamplerConfig", "make_sampler_config")

SAMPLE_TIMEOUT = 1.0
"""Seconds that a measurement waits for its sources, and again for those behind one that hangs."""
MAX_TURN = 0.1
"""Seconds that other measurements wait for one of the host at most."""
_MIB, _GIB = 1024**2, 1024**3
_CPU = ("cpu_num", "cpu_mhz", *(f"cpu_{state}" for state in STATES), "hw_info")
_MEMORY = (
    "mem_total_mb", "mem_free_mb", "mem_cached_mb", "mem_buffers_mb", "swap_total_mb", "swap_used_mb",
)  # fmt: skip
_GPU = (
    "gpu_gpu_util", "gpu_gpu_temp", "gpu_mem_total_mb", "gpu_mem_used_mb", "gpu_string", "gpus",
)  # fmt: skip
_NO_USER = {"", "reboot", "runlevel", "LOGIN"}
"""Entries of utmp that are no logins."""


@attrs.frozen(slots=True, kw_only=True)
class SamplerConfig:
    """The settings of a `Sampler`; the fields are those of `Config`."""

    disk_path: str = "/"
    disks: str = "*"
    nets: str = ""
    gpu_command: str = ""
    shell: tuple[str, ...] = ("/bin/sh", "-c")


def make_sampler_config(config: Config) -> SamplerConfig:
    """Return the part of an agent's settings that a `Sampler` needs."""
    return SamplerConfig(
        disk_path=config.disk_path,
        disks=config.io_disks,
        nets=config.networks,
        gpu_command=config.gpu_command,
        shell=config.shell,
    )


class Sampler:
    """Measures this host; one measurement at a time."""

    def __init__(
        self,
        config: SamplerConfig = SamplerConfig(),
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._cgroups = CgroupReader()
        self._cpu = Processors(clock=clock)
        self._disks, self._nets = Disks(config.disks, clock=clock), Nets(config.nets, clock=clock)
        self._temperature = CpuTemperature(clock=clock)
        self._gpus = GpuSampler(config.gpu_command, config.shell, clock=clock)
        self._limits = CgroupLimits()
        self._hw_info = ""
        # The kernel answers these from memory, so they are one source. The other ones can hang.
        self._kernel = (
            MetricSource("the container's limits", (), self._read_limits),
            MetricSource("the processors", _CPU, self._read_cpu),
            # Of its own: Windows counts it by performance counters, which may be switched off.
            MetricSource("the load", ("cpu_loadavg",), lambda: {"cpu_loadavg": self._cpu.load()}),
            MetricSource("the memory", _MEMORY, self._read_memory),
            MetricSource("users", ("logged_in_users",), self._read_users),  # a file in memory
            MetricSource(
                "the disks' traffic", ("hdd_rd_kbsec", "hdd_wr_kbsec", "hdd_busy"), self._disks.read
            ),
            MetricSource("the network", ("net_recv_kbsec", "net_send_kbsec"), self._nets.read),
        )
        self._gpu_source = MetricSource("GPUs", _GPU, self._read_gpus, idle=lambda: self._gpus.idle)
        self._sources = (
            MetricSource("the kernel", (*_CPU, "cpu_loadavg", *_MEMORY), self._read_kernel),
            MetricSource("the disk's space", ("hdd_total_gb", "hdd_free_gb"), self._read_space),
            MetricSource(
                "the temperature",
                ("cpu_temp",),
                lambda: {"cpu_temp": self._temperature.read()},
                idle=lambda: self._temperature.idle,
            ),
            self._gpu_source,
        )
        self._limiter = trio.CapacityLimiter(len(self._sources))
        self._measured = trio.Event()
        self._measured.set()

    async def measure(self) -> HostResources:
        """Measure all sources. One that does not answer in time keeps its values and is `stale`."""
        self._measured = trio.Event()
        try:
            await measure_sources(self._sources, SAMPLE_TIMEOUT, self._limiter)
        finally:
            self._measured.set()
        return self._collect()

    async def wait_measured(self) -> None:
        """Wait until a measurement that runs has ended, at most `MAX_TURN`.

        Tasks are measured at the same moments. Two threads that measure at once hand the interpreter
        lock to each other at every file: ten more wake-ups for a tree of two processes.
        """
        with trio.move_on_after(MAX_TURN):
            await self._measured.wait()

    def sample(self) -> HostResources:
        """Measure in the calling thread, blocking as long as the sources do. Never raises."""
        for source in self._sources:
            source.measure()
        return self._collect()

    def cards_unclaimed(self) -> bool:
        """Whether a GPU worked for a process its driver did not report, as of the last sample."""
        return is_unclaimed(self._gpu_source.values.get("gpus", ()), psutil.pid_exists)

    def shares(self) -> Mapping[int, GpuShare]:
        """Return what each process used of the GPUs, by pid, as of the last sample."""
        return shares_of(self._gpu_source.values.get("gpus", ()))

    def _collect(self) -> HostResources:
        fields: dict[str, Any] = {}
        stale: list[str] = []
        for source in (*self._kernel, *self._sources):
            fields.update(source.values)
            stale.extend(source.stale)
        return HostResources(**fields, stale=tuple(dict.fromkeys(stale)))

    def _read_kernel(self) -> Fields:
        for source in self._kernel:
            source.measure()
        return {}

    def _read_limits(self) -> Fields:
        self._limits = self._cgroups.read()
        return {}

    def _read_cpu(self) -> Fields:
        shares = self._cpu.shares(self._limits)
        self._hw_info = self._hw_info or find_hw_info()
        return {
            "hw_info": self._hw_info,
            "cpu_num": self._cpu.count(self._limits),
            "cpu_mhz": self._cpu.mhz(),
            **{f"cpu_{state}": share for state, share in shares.items()},
        }

    def _read_memory(self) -> Fields:
        memory = read_memory(self._limits)
        return {
            "mem_total_mb": memory.total // _MIB,
            "mem_free_mb": memory.available // _MIB,
            "mem_cached_mb": memory.cached // _MIB,
            "mem_buffers_mb": memory.buffers // _MIB,
            "swap_total_mb": memory.swap_total // _MIB,
            "swap_used_mb": memory.swap_used // _MIB,
        }

    def _read_space(self) -> Fields:
        usage = psutil.disk_usage(self._config.disk_path)
        return {"hdd_total_gb": usage.total // _GIB, "hdd_free_gb": usage.free // _GIB}

    def _read_users(self) -> Fields:
        names = {each.name for each in psutil.users()}
        return {"logged_in_users": tuple(sorted(names - _NO_USER))}

    def _read_gpus(self) -> Fields:
        gpus = self._gpus.read()
        return {**classic_fields(gpus), "gpus": gpus, "custom": gpu_meters(gpus)}
