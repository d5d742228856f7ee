"""The sources of measurements over made-up folders, and sources that hang, in real threads."""

from __future__ import annotations

import threading
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest
import trio
from support.polling import until

from trio_afrender.hostinfo import sampler, source
from trio_afrender.hostinfo.cpu import Processors
from trio_afrender.hostinfo.io_counters import Disks, Nets
from trio_afrender.hostinfo.sampler import Sampler, SamplerConfig
from trio_afrender.hostinfo.source import MetricSource, measure_sources
from trio_afrender.hostinfo.temperature import CpuTemperature


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_processors_own_sensor_wins(tmp_path: Path) -> None:
    hwmon = tmp_path / "class" / "hwmon"
    write(hwmon / "hwmon0" / "name", "nvme\n")
    write(hwmon / "hwmon0" / "temp1_input", "80000\n")
    write(hwmon / "hwmon1" / "name", "coretemp\n")
    write(hwmon / "hwmon1" / "temp1_input", "51000\n")
    write(hwmon / "hwmon1" / "temp2_input", "55900\n")
    write(hwmon / "hwmon1" / "temp3_input", "broken\n")
    now = [0.0]
    meter = CpuTemperature(sys=str(tmp_path), clock=lambda: now[0])
    assert meter.read() == 55
    (hwmon / "hwmon1" / "temp2_input").unlink()
    assert meter.read() == 51
    write(hwmon / "hwmon1" / "name", "boardmaker\n")
    now[0] += 400
    assert meter.read() == 51, "anything but a disk or a GPU"
    write(hwmon / "hwmon1" / "temp1_input", "255000\n")
    assert meter.read() == 0, "a sensor that is not connected"


def test_without_sensors_there_is_no_temperature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "sensors_temperatures", dict, raising=False)
    assert CpuTemperature(sys=str(tmp_path)).read() == 0
    chip = [types.SimpleNamespace(current=44.9), types.SimpleNamespace(current=None)]
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: {"coretemp": chip}, raising=False)
    assert CpuTemperature(sys=str(tmp_path)).read() == 44
    monkeypatch.delattr(psutil, "sensors_temperatures")
    assert CpuTemperature(sys=str(tmp_path)).read() == 0


def test_the_clock_rate_is_the_rated_one_else_the_highest_measured(tmp_path: Path) -> None:
    policies = tmp_path / "sys" / "devices" / "system" / "cpu" / "cpufreq"
    write(policies / "policy0" / "cpuinfo_max_freq", "2100000\n")
    write(policies / "policy4" / "cpuinfo_max_freq", "3700000\n")
    write(policies / "policy8" / "cpuinfo_max_freq", "nonsense\n")
    assert Processors(sys=str(tmp_path / "sys")).mhz() == 3700
    now = [0.0]
    cpuinfo = tmp_path / "proc" / "cpuinfo"
    cpu = Processors(sys="/none", proc=str(tmp_path / "proc"), clock=lambda: now[0])
    write(cpuinfo, "cpu MHz\t\t: 2999.998\nflags\t: fpu\ncpu MHz\t\t: 1200.1\n")
    assert cpu.mhz() == 2999
    write(cpuinfo, "cpu MHz\t\t: 800.0\n")
    assert cpu.mhz() == 2999, "read only once a minute"
    now[0] += 61
    assert cpu.mhz() == 2999, "the highest rate stays"
    write(cpuinfo, "cpu MHz\t\t: 4000.0\n")
    now[0] += 61
    assert cpu.mhz() == 4000


@pytest.mark.parametrize(
    ("wanted", "read"),
    [("*", 1), ("", 1), ("sdb", 2), ("/dev/sdb", 2), ("sd[ab]", 3), ("sda1, sdb", 6), ("none", 0)],
)
def test_disks_by_pattern(wanted: str, read: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"sda": 0, "sdb": 0, "sda1": 0}

    def count(**_: object) -> dict[str, types.SimpleNamespace]:
        return {
            name: types.SimpleNamespace(read_bytes=size * 1024, write_bytes=0, busy_time=0)
            for name, size in sizes.items()
        }

    now = [0.0]
    monkeypatch.setattr(psutil, "disk_io_counters", count)
    monkeypatch.setattr("trio_afrender.hostinfo.io_counters._is_whole", lambda disk: disk == "sda")
    disks = Disks(wanted, clock=lambda: now[0])
    disks.read()
    now[0] += 1
    sizes.update({"sda": 1, "sdb": 2, "sda1": 4})
    assert disks.read()["hdd_rd_kbsec"] == read


@pytest.mark.parametrize(
    ("wanted", "received"),
    [("", 2), (".*", 2), ("eth1", 2), ("(v)?eth1", 6), ("eth", 0), ("lo|eth1", 10)],
)
def test_interfaces_by_their_whole_name(
    wanted: str, received: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"eth1": 0, "veth1": 0, "lo": 0}

    def count(**_: object) -> dict[str, types.SimpleNamespace]:
        return {
            name: types.SimpleNamespace(bytes_recv=size * 1024, bytes_sent=0)
            for name, size in sizes.items()
        }

    now = [0.0]
    monkeypatch.setattr(psutil, "net_io_counters", count)
    nets = Nets(wanted, clock=lambda: now[0])
    nets.read()
    now[0] += 1
    sizes.update({"eth1": 2, "veth1": 4, "lo": 8})
    assert nets.read()["net_recv_kbsec"] == received
    del sizes["eth1"]
    assert nets.read()["net_recv_kbsec"] == 0
    sizes["eth1"] = 10**9  # it is back with another count: no spike
    now[0] += 1
    assert nets.read()["net_recv_kbsec"] == 0


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[trio.CancelScope]:
    """The time limits of measurements, which `give_up` reaches: no time is short enough to be waited
    for, and long enough for the sources that answer."""
    made: list[trio.CancelScope] = []

    def limit(seconds: float) -> trio.CancelScope:
        made.append(trio.move_on_after(seconds))
        return made[-1]

    names = types.SimpleNamespace(move_on_after=limit, lowlevel=trio.lowlevel)
    monkeypatch.setattr(source, "trio", names)
    return made


async def give_up(limits: list[trio.CancelScope], stuck: Callable[[], object]) -> None:
    """Once a source is stuck, end the time limit of the measurement."""
    await until(stuck)
    limits[-1].cancel()


async def test_a_stuck_source_keeps_its_values_until_it_answers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answers = [5]
    stuck, go = threading.Event(), threading.Event()

    def read() -> dict[str, int]:
        if stuck.is_set():
            go.wait()
        return {"cpu_temp": answers[-1]}

    source = MetricSource("the temperature", ("cpu_temp",), read)
    limiter = trio.CapacityLimiter(1)
    with trio.fail_after(20):
        await measure_sources([source], 10, limiter)
        assert (source.values, source.stale) == ({"cpu_temp": 5}, ())
        stuck.set()
        for _ in range(3):
            await measure_sources([source], 0.01, limiter)
            assert (source.values, source.stale) == ({"cpu_temp": 5}, ("cpu_temp",))
        answers.append(7)
        go.set()
        while source.stale:
            await measure_sources([source], 10, limiter)
        assert source.values == {"cpu_temp": 7}
    assert caplog.text.count("no answer from the temperature") == 1


async def test_the_sources_share_a_thread_until_one_of_them_hangs(
    limits: list[trio.CancelScope],
) -> None:
    go, stuck = threading.Event(), threading.Event()
    threads: dict[str, int] = {}

    def read(name: str) -> dict[str, int]:
        threads[name] = threading.get_ident()
        if name == "b" and hangs:
            stuck.set()
            go.wait()
        return {name: len(threads)}

    hangs: list[bool] = []
    names = "abcd"
    sources = [MetricSource(name, (name,), partial(read, name)) for name in names]
    limiter = trio.CapacityLimiter(len(sources))
    with trio.fail_after(20):
        await measure_sources(sources, 10, limiter)
        assert list(threads) == list(names), "in turn"
        assert len(set(threads.values())) == 1
        hangs.append(True)
        threads.clear()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(give_up, limits, stuck.is_set)
            await measure_sources(sources, 10, limiter)
        assert threads["c"] == threads["d"] != threads["b"]
        assert [source.stale for source in sources] == [(), ("b",), (), ()]
        go.set()
        hangs.clear()
        while sources[1].stale:
            await measure_sources(sources, 10, limiter)


async def test_a_cancelled_measurement_leaves_its_other_sources_to_the_next() -> None:
    go, released = threading.Event(), threading.Event()
    reads: list[str] = []

    def read(name: str) -> dict[str, int]:
        reads.append(name)
        if name == "a":
            go.wait()
            released.set()
        return {}

    sources = [MetricSource(name, (name,), partial(read, name)) for name in "abc"]
    limiter = trio.CapacityLimiter(len(sources))
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(measure_sources, sources, 10, limiter)
            await until(lambda: reads)
            nursery.cancel_scope.cancel()
        go.set()
        await until(lambda: not limiter.borrowed_tokens)
        assert released.is_set()
        assert reads == ["a"]
        await measure_sources(sources[1:], 10, limiter)
    assert reads == ["a", "b", "c"]


async def test_a_measurement_without_a_thread_ends() -> None:
    source = MetricSource("the load", ("load",), lambda: {"load": 1})
    limiter = trio.CapacityLimiter(1)
    with trio.fail_after(20):
        await measure_sources([source], 10, limiter)
        async with limiter:
            await measure_sources([source], 0.01, limiter)
            assert (source.values, source.stale) == ({"load": 1}, ("load",))
        await measure_sources([source], 10, limiter)
    assert source.stale == ()


async def test_a_stuck_disk_stops_only_its_own_fields(
    limits: list[trio.CancelScope], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    go, stuck = threading.Event(), threading.Event()
    real = psutil.disk_usage

    def usage(path: str) -> object:
        if armed:
            stuck.set()
            go.wait()
        return real(path)

    armed: list[bool] = []
    monkeypatch.setattr(psutil, "disk_usage", usage)
    monkeypatch.setattr(sampler, "SAMPLE_TIMEOUT", 10)
    measure = Sampler(SamplerConfig(disk_path=str(tmp_path)))
    with trio.fail_after(30):
        first = await measure.measure()
        assert first.stale == ()
        assert first.hdd_total_gb > 0
        armed.append(True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(give_up, limits, stuck.is_set)
            second = await measure.measure()
        go.set()
    assert second.stale == ("hdd_total_gb", "hdd_free_gb")
    assert second.hdd_total_gb == first.hdd_total_gb
    assert second.mem_total_mb == first.mem_total_mb


async def test_a_source_that_fails_is_stale_and_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "SAMPLE_TIMEOUT", 30)
    found = await Sampler(SamplerConfig(disk_path=str(tmp_path / "none"))).measure()
    assert found.stale == ("hdd_total_gb", "hdd_free_gb")
    assert (found.hdd_total_gb, found.hdd_free_gb) == (0, 1)


async def test_an_idle_source_is_not_read() -> None:
    asked: list[bool] = []

    def read() -> dict[str, int]:
        asked.append(True)
        return {}

    source = MetricSource("GPUs", ("gpus",), read, idle=lambda: bool(asked))
    limiter = trio.CapacityLimiter(1)
    for _ in range(3):
        await measure_sources([source], 10, limiter)
    assert asked == [True]
    assert source.stale == ()


@pytest.mark.parametrize("text", [None, "", "nonsense\n", "MemTotal: 5 kB\n"])
async def test_files_missing_in_proc_leave_the_fields_of_other_files(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if text is not None:
        for name in ("stat", "meminfo", "diskstats", "net/dev", "cpuinfo", "vmstat", "loadavg"):
            write(tmp_path / name, text)
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    monkeypatch.setattr(sampler, "SAMPLE_TIMEOUT", 30)
    found = await Sampler(SamplerConfig(disk_path=str(tmp_path))).measure()
    assert found.hdd_total_gb > 0
    assert "mem_total_mb" in found.stale or found.mem_total_mb == 0
    assert "hdd_total_gb" not in found.stale
