"""How busy this machine is: all of Afanasy's fields, each from a source that may fail alone.

Percents and rates are about the time since the measurement before; the first one has the
percents since boot and no rates. Time is monotonic, so a stepped clock makes no nonsense.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import psutil

from trio_afrender.config import Config
from trio_afrender.hostinfo.cgroup_limits import CgroupLimits, CgroupReader
from trio_afrender.hostinfo.cpu import STATES, Processors
from trio_afrender.hostinfo.gpu import (
    GpuSampler,
    card_meters,
    classic_fields,
    is_unclaimed,
    shares_of,
)
from trio_afrender.hostinfo.identity import find_hw_info
from trio_afrender.hostinfo.io_counters import Disks, Nets
from trio_afrender.hostinfo.memory import read_memory
from trio_afrender.hostinfo.process_usage import GpuShare
from trio_afrender.hostinfo.source import Fields, MetricSource
from trio_afrender.hostinfo.temperature import CpuTemperature
from trio_afrender.protocol.messages import HostResources

__all__ = ("Sampler", "SamplerConfig", "make_sampler_config")

SAMPLE_TIMEOUT = 1.0
"""Seconds that a measurement waits for its slowest source."""
_MIB, _GIB = 1024**2, 1024**3
_CPU = ("cpu_num", "cpu_mhz", "cpu_loadavg", *(f"cpu_{state}" for state in STATES), "hw_info")
_MEMORY = (
    "mem_total_mb", "mem_free_mb", "mem_cached_mb", "mem_buffers_mb", "swap_total_mb", "swap_used_mb",
)  # fmt: skip
_GPU = (
    "gpu_gpu_util", "gpu_gpu_temp", "gpu_mem_total_mb", "gpu_mem_used_mb", "gpu_string", "gpus",
)  # fmt: skip
_NO_USER = {"", "reboot", "runlevel", "LOGIN"}


@attrs.frozen(slots=True, kw_only=True)
class SamplerConfig:
    """What to measure, where there is a choice."""

    disk_path: str = "/"
    disks: str = "*"
    nets: str = ""
    gpu_command: str = ""
    shell: tuple[str, ...] = ("/bin/sh", "-c")


def make_sampler_config(config: Config) -> SamplerConfig:
    """Return what an agent's settings say about it."""
    return SamplerConfig(
        disk_path=config.disk_path,
        disks=config.io_disks,
        nets=config.networks,
        gpu_command=config.gpu_command,
        shell=config.shell,
    )


class Sampler:
    """Measures this host. One measurement after the other, never two at once."""

    def __init__(
        self,
        wishes: SamplerConfig = SamplerConfig(),
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wishes = wishes
        self._container = CgroupReader()
        self._cpu = Processors(clock=clock)
        self._disks, self._nets = Disks(wishes.disks, clock=clock), Nets(wishes.nets, clock=clock)
        self._thermometer = CpuTemperature(clock=clock)
        self._cards = GpuSampler(wishes.gpu_command, wishes.shell, clock=clock)
        self._bounds = CgroupLimits()
        self._hw_info = ""
        # Answered by the kernel from memory: they share a thread. The others may hang.
        self._kernel = (
            MetricSource("the container's limits", (), self._read_bounds),
            MetricSource("the processors", _CPU, self._read_cpu),
            MetricSource("the memory", _MEMORY, self._read_memory),
            MetricSource("users", ("logged_in_users",), self._read_users),  # a file in memory
            MetricSource(
                "the disks' traffic", ("hdd_rd_kbsec", "hdd_wr_kbsec", "hdd_busy"), self._disks.read
            ),
            MetricSource("the network", ("net_recv_kbsec", "net_send_kbsec"), self._nets.read),
        )
        self._cards_part = MetricSource(
            "GPUs", _GPU, self._read_cards, idle=lambda: self._cards.idle
        )
        self._threads = (
            MetricSource("the kernel", (*_CPU, *_MEMORY), self._read_kernel),
            MetricSource("the disk's space", ("hdd_total_gb", "hdd_free_gb"), self._read_space),
            MetricSource(
                "the temperature",
                ("cpu_temp",),
                self._read_temperature,
                idle=lambda: self._thermometer.idle,
            ),
            self._cards_part,
        )

    async def measure(self) -> HostResources:
        """Measure. What gives no answer in a second keeps its values and is `stale`.

        One source after the other: threads that fight for the interpreter cost twice as much.
        """
        for part in self._threads:
            await part.ask(SAMPLE_TIMEOUT)
        return self._collect()

    def sample(self) -> HostResources:
        """Measure here and now, blocking for as long as the slowest source. Never raises."""
        for part in self._threads:
            part.measure()
        return self._collect()

    def cards_unclaimed(self) -> bool:
        """Whether a card worked for somebody whom its driver did not name, as of the last sample."""
        return is_unclaimed(self._cards_part.values.get("gpus", ()), psutil.pid_exists)

    def shares(self) -> Mapping[int, GpuShare]:
        """What processes have of the cards, as it was measured last."""
        return shares_of(self._cards_part.values.get("gpus", ()))

    def _collect(self) -> HostResources:
        fields: dict[str, Any] = {}
        stale: list[str] = []
        for part in (*self._kernel, *self._threads):
            fields.update(part.values)
            stale.extend(part.stale)
        return HostResources(**fields, stale=tuple(dict.fromkeys(stale)))

    def _read_kernel(self) -> Fields:
        for part in self._kernel:
            part.measure()
        return {}

    def _read_bounds(self) -> Fields:
        self._bounds = self._container.read()
        return {}

    def _read_cpu(self) -> Fields:
        shares = self._cpu.shares(self._bounds)
        self._hw_info = self._hw_info or find_hw_info()
        return {
            "hw_info": self._hw_info,
            "cpu_num": self._cpu.count(self._bounds),
            "cpu_mhz": self._cpu.mhz(),
            "cpu_loadavg": self._cpu.load(),
            **{f"cpu_{state}": share for state, share in shares.items()},
        }

    def _read_memory(self) -> Fields:
        memory = read_memory(self._bounds)
        return {
            "mem_total_mb": memory.total // _MIB,
            "mem_free_mb": memory.available // _MIB,
            "mem_cached_mb": memory.cached // _MIB,
            "mem_buffers_mb": memory.buffers // _MIB,
            "swap_total_mb": memory.swap_total // _MIB,
            "swap_used_mb": memory.swap_used // _MIB,
        }

    def _read_space(self) -> Fields:
        usage = psutil.disk_usage(self._wishes.disk_path)
        return {"hdd_total_gb": usage.total // _GIB, "hdd_free_gb": usage.free // _GIB}

    def _read_users(self) -> Fields:
        names = {each.name for each in psutil.users()}
        return {"logged_in_users": tuple(sorted(names - _NO_USER))}

    def _read_temperature(self) -> Fields:
        return {"cpu_temp": self._thermometer.read()}

    def _read_cards(self) -> Fields:
        cards = self._cards.read()
        return {**classic_fields(cards), "gpus": cards, "custom": card_meters(cards)}
