"""The host's figures as rows for display: a name, a percentage, a text. Pure."""

from __future__ import annotations

import time
from collections.abc import Sequence

import attrs

from trio_afrender.cli.terminal import clean
from trio_afrender.hostinfo.identity import HostFacts
from trio_afrender.protocol.messages import GpuCard, HostResources
from trio_afrender.task.usage_totals import show_bytes

__all__ = ("Row", "make_rows", "plot", "short_line")

MIB = 1024**2
_STEPS = " ▁▂▃▄▅▆▇█"
_PLAIN_STEPS = " .:-=+*#@"


@attrs.frozen(slots=True)
class Row:
    """One line; `percent` is None for a figure without a maximum."""

    name: str
    percent: float | None
    text: str


def plot(values: Sequence[float], width: int, *, plain: bool = False) -> str:
    """Return a small curve of percents, the newest at the right; `plain`: in ASCII."""
    steps = _PLAIN_STEPS if plain else _STEPS
    top = len(steps) - 1
    shown = values[-width:] if width > 0 else ()
    drawn = "".join(steps[round(min(max(value, 0.0), 100.0) * top / 100)] for value in shown)
    return drawn.rjust(width)


def make_rows(found: HostResources, facts: HostFacts) -> list[Row]:
    """Return all figures; the last row names fields that could not be measured."""
    used = found.mem_total_mb - found.mem_free_mb
    memory = (
        f"{_mib(used)} of {_mib(found.mem_total_mb)} used, {_mib(found.mem_free_mb)} free;"
        f" caches {_mib(found.mem_cached_mb + found.mem_buffers_mb)}"
    )
    parts = ("user", "nice", "system", "iowait", "irq", "softirq")
    busy = [(part, getattr(found, f"cpu_{part}")) for part in parts]
    shares = ", ".join(f"{part} {value} %" for part, value in busy if value) or "idle"
    load = " ".join(f"{each / 10:.1f}" for each in found.cpu_loadavg)
    temp = f", {found.cpu_temp} °C" if found.cpu_temp else ""
    cpu = f"{found.cpu_num} x {found.cpu_mhz} MHz, load {load}{temp}; {shares}"
    rows = [
        Row("host", None, " ".join(filter(None, (facts.name, facts.os, facts.address)))),
        Row("hardware", None, found.hw_info),
        Row("cpu", float(min(sum(value for _, value in busy), 100)), cpu),
        Row("memory", _share(used, found.mem_total_mb), memory),
    ]
    if found.swap_total_mb:
        swap = f"{_mib(found.swap_used_mb)} of {_mib(found.swap_total_mb)} used"
        rows.append(Row("swap", _share(found.swap_used_mb, found.swap_total_mb), swap))
    full = found.hdd_total_gb - found.hdd_free_gb
    space = f"{full} of {found.hdd_total_gb} GiB used, {found.hdd_free_gb} free"
    io = f"read {found.hdd_rd_kbsec}, write {found.hdd_wr_kbsec} KiB/s"
    net = f"in {found.net_recv_kbsec}, out {found.net_send_kbsec} KiB/s"
    rows += [
        Row("disk", _share(full, found.hdd_total_gb), space),
        Row("disk busy", float(max(found.hdd_busy, 0)), io),
        Row("network", None, f"{net}; {', '.join(each.name for each in facts.netifs) or 'none'}"),
    ]
    for gpu in found.gpus:
        rows += _gpu_rows(gpu)
    if not found.gpus and found.gpu_string:
        rows.append(Row("GPU", float(found.gpu_gpu_util), found.gpu_string))
    rows.append(Row("users", None, ", ".join(found.logged_in_users) or "none logged in"))
    if found.stale:
        rows.append(Row("stale", None, f"could not be measured now: {', '.join(found.stale)}"))
    return [attrs.evolve(row, text=clean(row.text)) for row in rows]


def _gpu_rows(gpu: GpuCard) -> list[Row]:
    name = f"GPU {gpu.index}" if gpu.part is None else f"GPU {gpu.index}.{gpu.part}"
    extra = [f"{gpu.temp} °C"] if gpu.temp is not None else []
    if gpu.power_watt is not None:
        limit = "" if gpu.power_limit_watt is None else f" of {gpu.power_limit_watt}"
        extra.append(f"{gpu.power_watt}{limit} W")
    used = f"{_mib(gpu.mem_used_mb)} of {_mib(gpu.mem_total_mb)} used"
    rows = [
        Row(name, None if gpu.util is None else float(gpu.util), ", ".join((gpu.name, *extra))),
        Row(f"{name} memory", _share(gpu.mem_used_mb, gpu.mem_total_mb), used),
    ]
    if gpu.processes:
        shares = (f"{p.pid} ({_mib(p.memory_mb)}, {p.percent} %)" for p in gpu.processes)
        rows.append(Row(f"{name} pids", None, ", ".join(shares)))
    return rows


def short_line(found: HostResources, wall: float) -> str:
    """Return all changing figures in one line, for a pipe or a log."""
    busy = 100 - found.cpu_idle
    used = found.mem_total_mb - found.mem_free_mb
    parts = [
        time.strftime("%H:%M:%S", time.localtime(wall)),
        f"cpu {max(busy, 0)} %",
        f"load {found.cpu_loadavg[0] / 10:.1f}",
        f"memory {_mib(used)} of {_mib(found.mem_total_mb)}",
        f"disk {found.hdd_rd_kbsec}/{found.hdd_wr_kbsec} KiB/s busy {max(found.hdd_busy, 0)} %",
        f"net {found.net_recv_kbsec}/{found.net_send_kbsec} KiB/s",
    ]
    for gpu in found.gpus:
        util = "?" if gpu.util is None else gpu.util
        parts.append(f"gpu{gpu.index} {util} % {_mib(gpu.mem_used_mb)}")
    if found.stale:
        parts.append(f"stale {' '.join(found.stale)}")
    return clean("  ".join(parts))


def _share(part: float, whole: float) -> float | None:
    return min(max(part * 100 / whole, 0.0), 100.0) if whole > 0 else None


def _mib(size: int) -> str:
    return show_bytes(size * MIB)
