"""The load of a host, as in Afanasy's HostRes: same names, order and units."""

from __future__ import annotations

import attrs

__all__ = ("CustomMeter", "GpuCard", "GpuProcess", "HostResources")


@attrs.frozen(slots=True, kw_only=True)
class CustomMeter:
    """A meter defined by a studio; colours 0..255, sizes in pixels (0: the GUI's choice)."""

    value: int = 0
    valuemax: int = 100
    width: int = 0
    height: int = 50
    graphr: int = 0
    graphg: int = 255
    graphb: int = 0
    labelsize: int = 10
    labelr: int = 255
    labelg: int = 255
    labelb: int = 0
    bgcolorr: int = 10
    bgcolorg: int = 20
    bgcolorb: int = 5
    label: str = ""
    tooltip: str = ""


@attrs.frozen(slots=True, kw_only=True)
class GpuProcess:
    """What one process uses of a GPU."""

    pid: int
    """As the driver reports it: the pid on the host, also inside a container."""
    memory_mb: int = 0
    percent: int = 0
    """Of the GPU's time, since the measurement before."""


@attrs.frozen(slots=True, kw_only=True)
class GpuCard:
    """One GPU, or one MIG instance of a GPU. None: the driver does not report it."""

    index: int = 0
    """The driver's number, in bus order."""
    uuid: str = ""
    name: str = ""
    part: int | None = None
    """The number of a MIG instance within its GPU; None: the whole GPU."""
    util: int | None = None
    """Percent of the time in which the GPU worked; None for a MIG instance."""
    mem_total_mb: int = 0
    mem_used_mb: int = 0
    temp: int | None = None
    """Degrees Celsius."""
    power_watt: int | None = None
    power_limit_watt: int | None = None
    processes: tuple[GpuProcess, ...] = ()


@attrs.frozen(slots=True, kw_only=True)
class HostResources:
    """One measurement: percents 0..100, memory in MiB, disk space in GiB, rates in KiB/s."""

    cpu_num: int = 0
    cpu_mhz: int = 0
    cpu_temp: int = 0
    cpu_loadavg: tuple[int, int, int] = (0, 0, 0)
    """Load over 1, 5 and 15 minutes, times ten, at most 255."""
    cpu_user: int = 0
    cpu_nice: int = 0
    cpu_system: int = 0
    cpu_idle: int = 99
    cpu_iowait: int = 0
    cpu_irq: int = 0
    cpu_softirq: int = 0
    mem_total_mb: int = 0
    mem_free_mb: int = 1
    mem_cached_mb: int = 0
    mem_buffers_mb: int = 0
    swap_total_mb: int = 0
    swap_used_mb: int = 0
    hdd_total_gb: int = 0
    hdd_free_gb: int = 1
    hdd_rd_kbsec: int = 0
    hdd_wr_kbsec: int = 0
    hdd_busy: int = 0
    net_recv_kbsec: int = 0
    net_send_kbsec: int = 0
    gpu_gpu_util: int = 0
    gpu_gpu_temp: int = 0
    gpu_mem_total_mb: int = 0
    gpu_mem_used_mb: int = 0
    gpu_string: str = ""
    logged_in_users: tuple[str, ...] = ()
    hw_info: str = ""
    custom: tuple[CustomMeter, ...] = ()
    gpus: tuple[GpuCard, ...] = ()
    """All GPUs; the five fields ``gpu_*`` repeat the figures of the first one."""
    stale: tuple[str, ...] = ()
    """Fields that could not be measured this time: they have their last values, or defaults."""
