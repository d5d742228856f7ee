"""The host's figures as rows of a table, curves and lines."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from trio_afrender.cli.resource_table import make_rows, plot, short_line
from trio_afrender.hostinfo.identity import HostFacts
from trio_afrender.protocol.messages import GpuCard, GpuProcess, HostResources, NetIF

FACTS = HostFacts(
    name="n1",
    os="unix linux",
    address="10.0.0.1",
    netifs=(NetIF(name="eth0", mac="aa", addresses=("10.0.0.1",)),),
    hw_info="Xeon",
    user="alice",
)
FOUND = HostResources(
    cpu_num=64,
    cpu_mhz=3000,
    cpu_temp=61,
    cpu_loadavg=(123, 45, 6),
    cpu_user=70,
    cpu_iowait=5,
    cpu_idle=25,
    mem_total_mb=4096,
    mem_free_mb=1024,
    swap_total_mb=100,
    swap_used_mb=25,
    hdd_total_gb=200,
    hdd_free_gb=50,
    hdd_busy=33,
    hdd_rd_kbsec=7,
    net_send_kbsec=9,
    hw_info="Xeon",
    logged_in_users=("alice", "bob"),
    gpus=(
        GpuCard(
            name="H200",
            util=42,
            temp=33,
            power_watt=120,
            power_limit_watt=700,
            mem_total_mb=1000,
            mem_used_mb=500,
            processes=(GpuProcess(pid=7, memory_mb=480, percent=40),),
        ),
        GpuCard(index=1, part=2, name="A100", mem_total_mb=10),
    ),
    stale=("hdd_total_gb",),
)


def texts(found: HostResources) -> dict[str, Any]:
    return {row.name: (row.percent, row.text) for row in make_rows(found, FACTS)}


def test_every_figure_has_its_row() -> None:
    rows = texts(FOUND)
    assert rows["host"] == (None, "n1 unix linux 10.0.0.1")
    assert rows["cpu"] == (
        75,
        "64 x 3000 MHz, load 12.3 4.5 0.6, 61 °C; user 70 %, iowait 5 %",
    )
    assert rows["memory"][0] == 75
    assert rows["memory"][1].startswith("3.0 GiB of 4.0 GiB used, 1.0 GiB free")
    assert rows["swap"] == (25, "25.0 MiB of 100 MiB used")
    assert rows["disk"] == (75, "150 of 200 GiB used, 50 free")
    assert rows["disk busy"] == (33, "read 7, write 0 KiB/s")
    assert rows["network"] == (None, "in 0, out 9 KiB/s; eth0")
    assert rows["GPU 0"] == (42, "H200, 33 °C, 120 of 700 W")
    assert rows["GPU 0 memory"] == (50, "500 MiB of 1000 MiB used")
    assert rows["GPU 0 pids"] == (None, "7 (480 MiB, 40 %)")
    assert rows["GPU 1.2"] == (None, "A100")
    assert rows["users"] == (None, "alice, bob")
    assert rows["stale"] == (None, "could not be measured now: hdd_total_gb")


def test_missing_figures_have_no_row() -> None:
    rows = texts(HostResources(gpu_string="Radeon", gpu_gpu_util=5))
    assert not {"swap", "stale", "GPU 0"} & rows.keys()
    assert rows["GPU"] == (5, "Radeon")
    assert rows["disk"][0] is None
    assert rows["users"] == (None, "none logged in")


def test_names_are_cleaned_of_control_characters() -> None:
    found = attrs.evolve(FOUND, hw_info="\x1b[2J", logged_in_users=("\x1b[31m",))
    assert not any("\x1b" in row.text for row in make_rows(found, FACTS))
    assert "\x1b" not in short_line(attrs.evolve(FOUND, stale=("\x1b",)), 0)


@pytest.mark.parametrize(
    ("values", "width", "drawn"),
    [
        ([], 3, "   "),
        ([0, 50, 100], 5, "   ▄█"),
        ([0, 50, 100], 2, "▄█"),
        ([-5, 250], 2, " █"),
        ([50], 0, ""),
    ],
)
def test_a_curve_ends_at_the_right(values: list[float], width: int, drawn: str) -> None:
    assert plot(values, width) == drawn
    assert plot(values, width, plain=True).isascii()


def test_a_line_has_all_changing_figures() -> None:
    line = short_line(FOUND, 0)
    assert "cpu 75 %  load 12.3  memory 3.0 GiB of 4.0 GiB  disk 7/0 KiB/s busy 33 %" in line
    assert "gpu0 42 % 500 MiB  gpu1 ? % 0 bytes  stale hdd_total_gb" in line
