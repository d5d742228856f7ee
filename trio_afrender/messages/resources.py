"""The load of a host, as Afanasy's HostRes: names, order and units are the server's."""

from __future__ import annotations

import attrs

__all__ = ("CustomMeter", "HostResources")


@attrs.frozen(slots=True, kw_only=True)
class CustomMeter:
    """One meter of a studio's own; colours 0..255, sizes in pixels (0: the GUI's choice)."""

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
class HostResources:
    """One measurement. Percents 0..100, sizes in MiB (memory) and GiB (disk), rates in KiB/s."""

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
