"""Identity and load of the machine that the tests run on."""

from __future__ import annotations

import getpass
import os
import platform
import socket
import types
from pathlib import Path
from typing import Any

import psutil
import pytest

from trio_afrender.hostinfo import identity, io_counters
from trio_afrender.hostinfo.identity import host_facts
from trio_afrender.hostinfo.sampler import Sampler, SamplerConfig
from trio_afrender.protocol.json_codec import decode_from_render, encode
from trio_afrender.protocol.messages import HostResources, Register


def test_the_host_is_described() -> None:
    found = host_facts()
    assert found.name == socket.gethostname().lower().partition(".")[0]
    assert found.os.split()[0] in ("unix", "windows")
    assert {"64", "32", "aarch64", "arm32"} & set(found.os.split())
    assert found.user == getpass.getuser().lower()
    socket.inet_pton(socket.AF_INET6 if ":" in found.address else socket.AF_INET, found.address)
    for netif in found.netifs:
        assert len(netif.mac) == 17
        assert netif.addresses
        assert "%" not in "".join(netif.addresses)
    assert "lo" not in [netif.name for netif in found.netifs]
    assert found.hw_info == found.hw_info.strip()


@pytest.mark.parametrize(
    ("system", "machine", "release", "words"),
    [
        ("Linux", "x86_64", {"ID": "debian", "VERSION_ID": "12"}, "unix linux 64 debian 12"),
        ("Linux", "aarch64", {"ID": "arch"}, "unix linux aarch64 arch"),
        ("Linux", "x86_64", None, "unix linux 64"),
        ("Darwin", "arm64", None, "unix macosx aarch64"),
        ("Windows", "AMD64", None, "windows 64"),
        ("FreeBSD", "amd64", None, "unix freebsd 64"),
    ],
)
def test_the_system_is_described_from_general_to_specific(
    system: str,
    machine: str,
    release: dict[str, str] | None,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def read_release() -> dict[str, str]:
        if release is None:
            raise FileNotFoundError
        return release

    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "freedesktop_os_release", read_release)
    assert host_facts().os == words


def fail(*_: object, **__: object) -> object:
    raise OSError("sick")


def test_facts_that_cannot_be_read_are_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "net_if_addrs", fail)
    monkeypatch.setattr(socket, "socket", fail)
    monkeypatch.setattr(getpass, "getuser", fail)
    monkeypatch.setattr(Path, "read_text", fail)
    monkeypatch.setattr(platform, "processor", lambda: "")
    found = host_facts()
    assert (found.netifs, found.address, found.user) == ((), "127.0.0.1", "unknown")
    assert found.hw_info == platform.machine()


def test_without_a_route_the_address_is_that_of_an_interface(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    link = types.SimpleNamespace(family=psutil.AF_LINK, address="AA-BB-CC-00-00-01")
    address = types.SimpleNamespace(family=socket.AF_INET6, address="fe80::1%eth7")
    bare = types.SimpleNamespace(family=psutil.AF_LINK, address="00:00:00:00:00:00")
    monkeypatch.setattr(
        psutil, "net_if_addrs", lambda: {"eth7": [link, address], "tun": [bare, address]}
    )
    monkeypatch.setattr(socket, "socket", fail)
    found = host_facts()
    assert [(each.name, each.mac) for each in found.netifs] == [("eth7", "aa:bb:cc:00:00:01")]
    assert found.address == "fe80::1"


def test_a_measurement_is_plausible_and_survives_encoding(tmp_path: Path) -> None:
    time = [100.0]
    measure = Sampler(SamplerConfig(disk_path=str(tmp_path)), clock=lambda: time[0])
    first = measure.sample()
    assert (first.hdd_rd_kbsec, first.hdd_wr_kbsec, first.hdd_busy) == (0, 0, 0)
    assert (first.net_recv_kbsec, first.net_send_kbsec) == (0, 0)
    time[0] += 5
    second = measure.sample()
    assert second.cpu_num == psutil.cpu_count()
    assert 0 < second.mem_free_mb <= second.mem_total_mb
    assert second.hdd_total_gb >= second.hdd_free_gb
    assert 0 <= second.hdd_busy <= 100
    shares = (
        second.cpu_user, second.cpu_nice, second.cpu_system, second.cpu_idle,
        second.cpu_iowait, second.cpu_irq, second.cpu_softirq,
    )  # fmt: skip
    assert all(share >= 0 for share in shares)
    assert sum(shares) <= 100
    assert all(0 <= load <= 255 for load in second.cpu_loadavg)
    assert list(second.logged_in_users) == sorted(set(second.logged_in_users))
    register = Register(name="n1", resources=second)
    assert decode_from_render(encode(register)) == register


def test_traffic_and_times_are_counted_since_the_last_measurement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now: dict[str, Any] = {}
    monkeypatch.setattr(psutil, "cpu_times", lambda: types.SimpleNamespace(**now["cpu"]))
    monkeypatch.setattr(psutil, "disk_io_counters", lambda **_: now["disks"])
    monkeypatch.setattr(psutil, "net_io_counters", lambda **_: now["nets"])
    monkeypatch.setattr(io_counters, "_is_whole", lambda disk: disk == "sda")

    def disk(read: int, written: int, busy: int) -> types.SimpleNamespace:
        return types.SimpleNamespace(read_bytes=read, write_bytes=written, busy_time=busy)

    def net(received: int, sent: int) -> types.SimpleNamespace:
        return types.SimpleNamespace(bytes_recv=received, bytes_sent=sent)

    now["cpu"] = {"user": 100.0, "system": 0.0, "idle": 100.0}
    now["disks"] = {"sda": disk(0, 0, 0), "sda1": disk(0, 0, 0), "loop0": disk(0, 0, 0)}
    now["nets"] = {"eth0": net(5_000_000, 0), "lo": net(0, 0), "veth1": net(0, 0)}
    time = [10.0]
    measure = Sampler(clock=lambda: time[0])
    assert measure.sample().cpu_user == 50
    now["cpu"] = {"user": 130.0, "system": 10.0, "idle": 160.0}
    now["disks"] = {name: disk(4096, 8192, 1500) for name in now["disks"]}
    now["nets"] = {name: net(1024, 20_480) for name in now["nets"]}  # received went back
    time[0] += 2
    second = measure.sample()
    assert (second.cpu_user, second.cpu_system, second.cpu_idle) == (30, 10, 60)
    assert (second.hdd_rd_kbsec, second.hdd_wr_kbsec, second.hdd_busy) == (2, 4, 75)
    assert (second.net_recv_kbsec, second.net_send_kbsec) == (0, 10)


def test_a_source_that_fails_is_logged_once_and_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("cpu_times", "virtual_memory", "net_io_counters", "users"):
        monkeypatch.setattr(psutil, name, fail)
    measure = Sampler()
    for _ in range(2):
        found = measure.sample()
    default = HostResources()
    assert (found.cpu_idle, found.mem_total_mb) == (default.cpu_idle, default.mem_total_mb)
    assert found.hdd_total_gb > 0
    texts = [record.getMessage() for record in caplog.records]
    assert texts.count("cannot measure the memory: sick") == 1
    assert len(texts) == 4


def test_a_missing_disk_path_leaves_the_other_fields(tmp_path: Path) -> None:
    found = Sampler(SamplerConfig(disk_path=str(tmp_path / "none"))).sample()
    assert found.hdd_total_gb == 0
    assert found.mem_total_mb > 0


@pytest.mark.skipif(not os.path.isdir("/sys/block"), reason="only Linux lists its disks there")  # noqa: PTH112 - at import
def test_partitions_are_not_whole_disks() -> None:
    disks = os.listdir("/sys/block")  # noqa: PTH208 - names are wanted
    assert all(io_counters._is_whole(disk) for disk in disks)
    assert not io_counters._is_whole("no-such-disk1")


@pytest.mark.parametrize(
    ("vendor", "product", "model"),
    [
        ("Dell Inc.\n", "PowerEdge R640\n", " Dell Inc. PowerEdge R640"),
        ("QEMU", "QEMU", " QEMU"),
        ("To Be Filled By O.E.M.", "System Product Name", ""),
        ("", "Default string", ""),
        (None, None, ""),
    ],
)
def test_the_hardware_is_read_from_linux_tables(
    vendor: str | None,
    product: str | None,
    model: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for name, text in (("sys_vendor", vendor), ("product_name", product)):
        if text is not None:
            (tmp_path / name).write_text(text)
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Some(R) CPU 9000 @ 3GHz\n")
    monkeypatch.setattr(identity, "_DMI", tmp_path)
    monkeypatch.setattr(identity, "_CPUINFO", cpuinfo)
    assert identity.find_hw_info() == f"Some 9000{model}"
    cpuinfo.write_text("nothing\n")
    monkeypatch.setattr(platform, "processor", lambda: "i386")
    assert identity.find_hw_info() == f"i386{model}"
