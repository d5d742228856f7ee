"""How busy this machine is: one blocking measurement at a time, each part on its own.

Percents and rates are about the time since the measurement before; the first one has the
percents since boot and no rates. Time is monotonic, so a stepped clock makes no nonsense.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from trio_afrender.host.facts import find_hw_info, shorten_cpu
from trio_afrender.host.gpu import Gpu
from trio_afrender.host.rates import Counters, make_shares
from trio_afrender.messages import HostResources

__all__ = ("Sampler",)

_log = logging.getLogger(__name__)
_MIB, _GIB = 1024**2, 1024**3
_CPU_STATES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq")
_VIRTUAL_DISKS = ("loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd")
_VIRTUAL_NETS = ("lo", "veth", "docker", "br-", "virbr")
_CPU_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "acpitz")

Fields = Mapping[str, Any]


class Sampler:
    """Measures this host. Not thread-safe: one measurement after the other, in any thread."""

    def __init__(
        self, disk_path: str = "/", *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._disk_path = disk_path
        self._clock = clock
        self._gpu = Gpu()
        self._cpu_times: tuple[float, ...] = (0.0,) * len(_CPU_STATES)
        self._read, self._written, self._busy = Counters(), Counters(), Counters()
        self._received, self._sent = Counters(), Counters()
        self._mhz = 0
        self._hw_info: str | None = None
        self._failed: set[str] = set()

    def sample(self) -> HostResources:
        """Measure. Blocks for milliseconds as a rule; never raises.

        A part that fails keeps its defaults and is named in the log once.
        """
        parts = (
            self._cpu,
            self._mhz_and_load,
            self._memory,
            self._swap,
            self._disk_space,
            self._disk_traffic,
            self._net_traffic,
            self._temperature,
            self._users,
            self._card,
            self._hardware,
        )
        fields: dict[str, Any] = {}
        for part in parts:
            try:
                fields.update(part())
            except Exception as error:  # noqa: BLE001 - the other parts are still wanted
                if part.__name__ not in self._failed:
                    self._failed.add(part.__name__)
                    _log.warning("cannot measure %s: %s", part.__name__.strip("_"), error)
        return HostResources(**fields)

    def _cpu(self) -> Fields:
        times = psutil.cpu_times()
        now = tuple(float(getattr(times, state, 0.0)) for state in _CPU_STATES)
        shares = make_shares(self._cpu_times, now)
        self._cpu_times = now
        fields = {f"cpu_{state}": share for state, share in zip(_CPU_STATES, shares, strict=True)}
        return fields if any(shares) else {}

    def _mhz_and_load(self) -> Fields:
        frequency = psutil.cpu_freq()
        if frequency is not None:  # only grows, as idle cores are clocked down
            self._mhz = max(self._mhz, int(frequency.max or 0), int(frequency.current or 0))
        load = tuple(min(max(int(each * 10), 0), 255) for each in psutil.getloadavg())
        return {"cpu_num": psutil.cpu_count() or 1, "cpu_mhz": self._mhz, "cpu_loadavg": load}

    def _memory(self) -> Fields:
        memory = psutil.virtual_memory()
        return {
            "mem_total_mb": memory.total // _MIB,
            "mem_free_mb": memory.available // _MIB,
            "mem_cached_mb": getattr(memory, "cached", 0) // _MIB,
            "mem_buffers_mb": getattr(memory, "buffers", 0) // _MIB,
        }

    def _swap(self) -> Fields:
        swap = psutil.swap_memory()
        return {"swap_total_mb": swap.total // _MIB, "swap_used_mb": swap.used // _MIB}

    def _disk_space(self) -> Fields:
        usage = psutil.disk_usage(self._disk_path)
        return {"hdd_total_gb": usage.total // _GIB, "hdd_free_gb": usage.free // _GIB}

    def _disk_traffic(self) -> Fields:
        found = psutil.disk_io_counters(perdisk=True, nowrap=False) or {}
        disks = {
            name: each
            for name, each in found.items()
            if not name.startswith(_VIRTUAL_DISKS) and _is_whole(name)
        }
        now = self._clock()
        read = self._read.advance(_pick(disks, "read_bytes"), now)
        written = self._written.advance(_pick(disks, "write_bytes"), now)
        busy = self._busy.advance(_pick(disks, "busy_time"), now)
        percent = int(busy.most / (busy.seconds * 10)) if busy.seconds else 0  # milliseconds
        return {
            "hdd_rd_kbsec": read.rate(),
            "hdd_wr_kbsec": written.rate(),
            "hdd_busy": min(percent, 100),
        }

    def _net_traffic(self) -> Fields:
        nets = {
            name: each
            for name, each in psutil.net_io_counters(pernic=True, nowrap=False).items()
            if not name.startswith(_VIRTUAL_NETS)
        }
        now = self._clock()
        return {
            "net_recv_kbsec": self._received.advance(_pick(nets, "bytes_recv"), now).rate(),
            "net_send_kbsec": self._sent.advance(_pick(nets, "bytes_sent"), now).rate(),
        }

    def _temperature(self) -> Fields:
        if not hasattr(psutil, "sensors_temperatures"):
            return {}  # not on this system
        chips = psutil.sensors_temperatures()
        of_cpu = [each for name in _CPU_SENSORS for each in chips.get(name, ())]
        sensors = of_cpu or [each for chip in chips.values() for each in chip]
        hottest = max((each.current for each in sensors if each.current), default=0)
        return {"cpu_temp": min(max(int(hottest), 0), 127)}

    def _users(self) -> Fields:
        return {"logged_in_users": tuple(sorted({each.name for each in psutil.users()} - {""}))}

    def _card(self) -> Fields:
        load = self._gpu.read()
        return {
            "gpu_gpu_util": load.util,
            "gpu_gpu_temp": load.temp,
            "gpu_mem_total_mb": load.mem_total_mb,
            "gpu_mem_used_mb": load.mem_used_mb,
            "gpu_string": shorten_cpu(load.name),
        }

    def _hardware(self) -> Fields:
        if self._hw_info is None:
            self._hw_info = find_hw_info()
        return {"hw_info": self._hw_info}


def _pick(devices: Mapping[str, Any], counter: str) -> Mapping[str, float]:
    return {name: float(getattr(each, counter, 0)) for name, each in devices.items()}


def _is_whole(disk: str) -> bool:
    """Whether it is no partition, whose traffic its disk has counted already."""
    blocks = Path("/sys/block")
    return not blocks.is_dir() or (blocks / disk.replace("/", "!")).exists()
