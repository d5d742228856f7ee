"""Limits of control groups, read from made-up trees, and the figures derived from them."""

from __future__ import annotations

import errno
import os
import sys
import types
from pathlib import Path

import psutil
import pytest

from trio_afrender.hostinfo.cgroup_limits import CgroupLimits, CgroupReader, read_small
from trio_afrender.hostinfo.cpu import Processors
from trio_afrender.hostinfo.memory import read_memory
from trio_afrender.supervisor.cgroup import find_own, parse_groups, parse_mounts

MIB = 1024**2
MOUNT_V2 = "31 23 0:28 / /cg rw,relatime shared:5 - cgroup2 cgroup2 rw,nsdelegate\n"
MOUNT_V1 = (
    "32 31 0:29 /docker/abc /cg/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 /docker/abc /cg/memory rw - cgroup cgroup rw,memory\n"
)


def make_tree(root: Path, groups: str, mounts: str, files: dict[str, str]) -> CgroupReader:
    (root / "proc").mkdir()
    (root / "proc" / "cgroup").write_text(groups)
    (root / "proc" / "mountinfo").write_text(mounts)
    for name, text in files.items():
        path = root / "cg" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return CgroupReader(str(root / "proc"), str(root))


def test_a_limit_that_cannot_be_read_for_a_moment_is_not_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The figures would be those of the whole machine, and its kills those of this group."""
    reader = make_tree(
        tmp_path, "0::/farm\n", MOUNT_V2, {"farm/memory.max": "1000\n", "farm/cpu.max": "max 1\n"}
    )
    assert reader.read().memory == 1000

    def fail(path: Path) -> bytes:
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    clock = Processors(sys=str(tmp_path), proc=str(tmp_path))
    (tmp_path / "cpuinfo").write_text("cpu MHz : 2999.0\n")
    policy = tmp_path / "devices/system/cpu/cpufreq/policy0"
    policy.mkdir(parents=True)
    (policy / "cpuinfo_max_freq").write_text("3700000\n")
    with monkeypatch.context() as without:
        without.setattr(Path, "read_bytes", fail)
        with pytest.raises(OSError, match="Too many open files"):
            reader.read()
        with pytest.raises(OSError, match="Too many open files"):
            clock.mhz()
    assert reader.read().memory == 1000
    assert clock.mhz() == 3700, "read again at once, not after a minute"


def test_in_the_unified_tree_the_tightest_limit_of_all_levels_counts(tmp_path: Path) -> None:
    files = {
        "farm/memory.max": f"{1000 * MIB}\n",
        "farm/memory.current": f"{700 * MIB}\n",
        "farm/memory.stat": f"anon 1\nfile {200 * MIB}\ninactive_file {100 * MIB}\n",
        "farm/memory.events": "low 0\noom 3\noom_kill 2\n",
        "farm/memory.swap.max": "0\n",
        "farm/agent/memory.max": "max\n",
        "farm/agent/cpu.max": "150000 100000\n",
        "farm/agent/cpu.stat": "usage_usec 3000000\nuser_usec 2000000\nsystem_usec 1000000\n",
        "farm/cpu.max": "max 100000\n",
    }
    cgroups = make_tree(tmp_path, "0::/farm/agent\n", MOUNT_V2, files)
    assert cgroups.read() == CgroupLimits(
        memory=1000 * MIB,
        memory_left=400 * MIB,
        cached=200 * MIB,
        swap=0,
        processors=1.5,
        cpu_user=2.0,
        cpu_system=1.0,
        oom_kills=2,
    )
    (tmp_path / "cg" / "farm" / "memory.max").unlink()  # gone meanwhile
    assert cgroups.read().memory is None


def test_mounts_that_cannot_be_read_once_are_read_again(tmp_path: Path) -> None:
    cgroups = make_tree(tmp_path, "0::/\n", MOUNT_V2, {"memory.max": f"{100 * MIB}\n"})
    mounts, away = tmp_path / "proc" / "mountinfo", tmp_path / "away"
    mounts.rename(away)
    assert cgroups.read().memory is None
    away.rename(mounts)
    assert cgroups.read().memory == 100 * MIB


def test_names_of_any_bytes_hide_no_other(tmp_path: Path) -> None:
    """The kernel escapes white space of ASCII alone in the names of mount points and cgroups."""
    cgroups = make_tree(tmp_path, "", "", {"a/memory.max": f"{100 * MIB}\n"})
    odd = b"40 31 8:17 / /media/Fran\xe7ois\x0b\r\xe2\x80\xa8 rw - vfat /dev/sdb1 rw\n"
    (tmp_path / "proc" / "mountinfo").write_bytes(odd + MOUNT_V2.encode() + odd)
    (tmp_path / "proc" / "cgroup").write_bytes(b"0::/a/\xff\xe2\x80\xa80::/\n")
    (tmp_path / "cg" / "a" / "\udcff\u20280::").mkdir()
    assert cgroups.read().memory == 100 * MIB
    assert find_own(tmp_path / "proc") == Path("/cg/a/\udcff\u20280::")


def test_v1_trees_are_found_although_the_path_is_that_of_the_host(tmp_path: Path) -> None:
    files = {
        "memory/memory.limit_in_bytes": f"{2000 * MIB}\n",
        "memory/memory.usage_in_bytes": f"{500 * MIB}\n",
        "memory/memory.memsw.limit_in_bytes": f"{3000 * MIB}\n",
        "memory/memory.stat": f"cache 1\ntotal_cache {50 * MIB}\ntotal_inactive_file {20 * MIB}\ntotal_swap 5\n",
        "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n",
        "cpu,cpuacct/cpu.cfs_quota_us": "200000\n",
        "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        "cpu,cpuacct/cpuacct.stat": "user 500\nsystem 100\n",
    }
    groups = "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n0::/\n"
    limits = make_tree(tmp_path, groups, MOUNT_V1, files).read()
    assert (limits.memory, limits.memory_left) == (2000 * MIB, 1520 * MIB)
    assert (limits.swap, limits.swap_used, limits.oom_kills) == (1000 * MIB, 5, 4)
    assert (limits.processors, limits.cpu_user, limits.cpu_system) == (2.0, 5.0, 1.0)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"memory/memory.limit_in_bytes": "9223372036854771712\n"},
        {"memory/memory.limit_in_bytes": "-1\n", "cpu,cpuacct/cpu.cfs_quota_us": "-1\n"},
        {"memory/memory.limit_in_bytes": "", "memory/memory.stat": "what\n"},
    ],
)
def test_files_without_a_limit_set_none(tmp_path: Path, files: dict[str, str]) -> None:
    groups = "5:memory:/\n4:cpu,cpuacct:/\n"
    assert make_tree(tmp_path, groups, MOUNT_V1, files).read() == CgroupLimits()


def test_without_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert CgroupReader(str(tmp_path / "none")).read() == CgroupLimits()
    assert (
        make_tree(tmp_path, "nonsense\n0::/../../up\n", "nonsense\n", {}).read() == CgroupLimits()
    )


def test_the_kernels_tables_are_parsed() -> None:
    assert parse_groups("5:cpu,cpuacct:/a:b\n0::/x\n") == {
        "cpu": "/a:b",
        "cpuacct": "/a:b",
        "": "/x",
    }
    mounts = parse_mounts(MOUNT_V2 + MOUNT_V1)
    assert mounts[""] == ("/", "/cg")
    assert mounts["cpuacct"] == ("/docker/abc", "/cg/cpu,cpuacct")


def test_memory_is_what_the_control_groups_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = types.SimpleNamespace(total=9000, available=5000, cached=3000, buffers=100)
    swap = types.SimpleNamespace(total=400, used=30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: machine)
    monkeypatch.setattr(psutil, "swap_memory", lambda: swap)
    monkeypatch.setattr("trio_afrender.hostinfo.memory.read_small", lambda _: b"")
    free = read_memory(CgroupLimits())
    assert (free.total, free.available, free.cached, free.swap_total) == (9000, 5000, 3000, 400)
    limits = CgroupLimits(memory=2000, memory_left=700, cached=90, swap=0, oom_kills=3)
    tight = read_memory(limits)
    assert (tight.total, tight.available, tight.cached) == (2000, 700, 90)
    assert (tight.swap_total, tight.swap_used, tight.oom_kills) == (0, 0, 3)
    loose = read_memory(CgroupLimits(memory=10_000, memory_left=9000))
    assert (loose.total, loose.available) == (9000, 5000)


def test_under_a_quota_percents_are_percents_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_count", lambda: 64)
    monkeypatch.setattr("trio_afrender.hostinfo.cpu._affinity", lambda: set(range(64)))
    now = [100.0]
    cpu = Processors(clock=lambda: now[0])
    first = CgroupLimits(processors=2.5, cpu_user=10.0, cpu_system=5.0)
    assert cpu.count(first) == 3
    assert cpu.shares(first) == {}
    now[0] += 4
    second = CgroupLimits(processors=2.5, cpu_user=16.0, cpu_system=6.0)
    assert cpu.shares(second) == {"user": 60, "system": 10, "idle": 30}
    now[0] += 1
    assert cpu.shares(first) == {"user": 0, "system": 0, "idle": 100}, "they went back: no spike"
    assert cpu.shares(first) == {}, "no time has passed"


def test_only_the_processors_of_the_affinity_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def cpu_times(*, percpu: bool = False) -> object:
        idle = types.SimpleNamespace(user=0.0, idle=100.0)
        busy = types.SimpleNamespace(user=75.0, idle=25.0)
        return [idle, busy, busy, idle] if percpu else idle

    monkeypatch.setattr(psutil, "cpu_count", lambda: 4)
    monkeypatch.setattr(psutil, "cpu_times", cpu_times)
    monkeypatch.setattr("trio_afrender.hostinfo.cpu._affinity", lambda: {1, 2})
    cpu = Processors()
    assert cpu.count(CgroupLimits()) == 2
    shares = cpu.shares(CgroupLimits())
    assert (shares["user"], shares["idle"]) == (75, 25)


def test_swap_and_kills_are_read_from_the_kernels_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "/proc/meminfo": b"MemTotal: 9 kB\nSwapCached: 3 kB\nSwapTotal:  400 kB\nSwapFree:  100 kB\n",
        "/proc/vmstat": b"pgfault 5\noom_kill 7\nunoom_kill 8\n",
    }
    monkeypatch.setattr("trio_afrender.hostinfo.memory.read_small", lambda path: files[path])
    memory = read_memory(CgroupLimits())
    assert (memory.swap_total, memory.swap_used) == (400 * 1024, 300 * 1024)
    assert memory.oom_kills == 7


@pytest.mark.skipif(sys.platform != "linux", reason="the other end needs a pipe of packets")
def test_a_file_that_comes_in_parts_is_read_to_its_end() -> None:
    """The kernel gives files of many records, such as /proc/vmstat, in parts of a page."""
    reader, writer = os.pipe2(os.O_DIRECT)  # one read gets one packet
    with os.fdopen(reader, "rb"):
        os.write(writer, b"pgfault 5\n")
        os.write(writer, b"oom_kill 7\n")
        os.close(writer)
        assert read_small(f"/proc/self/fd/{reader}") == b"pgfault 5\noom_kill 7\n"


@pytest.mark.parametrize(
    ("groups", "mounts", "folder"),
    [
        ("0::/farm/agent\n", MOUNT_V2, "/cg/farm/agent"),
        ("0::/\n", MOUNT_V2, "/cg"),
        ("0::/pod/agent\n", MOUNT_V2.replace(" / /cg", " /pod /cg"), "/cg/agent"),
        ("0::/pod\n", MOUNT_V2.replace(" / /cg", " /pod /cg"), "/cg"),
        ("0::/farm\n", MOUNT_V1, None),
        ("4:memory:/farm\n", MOUNT_V2, None),
    ],
)
def test_the_own_group_is_found_where_it_is_mounted(
    tmp_path: Path, groups: str, mounts: str, folder: str | None
) -> None:
    make_tree(tmp_path, groups, mounts, {})
    found = find_own(tmp_path / "proc")
    assert (found and str(found)) == folder
