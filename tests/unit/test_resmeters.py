"""The built-in meters: what they read, and what they show when a source fails."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from resmeters import _background, cpu_temperature, disk_space, gpu, iostat, licence, nvidia_smi
from resmeters._background import Background, NotReady, wait_for_all
from resmeters._colours import green_to_red, share_between
from trio_afrender.config import PluginSettings


def made(kind: Any, **settings: Any) -> Any:  # noqa: ANN401 - meters, whose attributes are tried
    """Create a meter as the plugin host does."""
    meter = kind.__new__(kind)
    meter.settings = PluginSettings(**settings)
    meter.__init__()
    return meter


def test_colours() -> None:
    assert [green_to_red(share) for share in (-1, 0, 0.5, 1, 9)] == [
        (0, 255, 0), (0, 255, 0), (255, 255, 0), (255, 0, 0), (255, 0, 0),
    ]  # fmt: skip
    assert [share_between(value, 10, 20) for value in (0, 15, 30)] == [0.0, 0.5, 1.0]
    assert share_between(0, 0, 0) == 1.0


# -- calls in a thread ----------------------------------------------------------------------------


def test_a_result_is_reused_for_a_while() -> None:
    now = [0.0]
    calls: list[float] = []

    def count() -> int:
        calls.append(now[0])
        return len(calls)

    background = Background(count, max_age=60, clock=lambda: now[0])
    results = []
    for now[0] in (0.0, 30.0, 59.0, 60.0, 61.0):
        results.append(background.result(10))
    assert (results, calls) == ([1, 1, 1, 2, 2], [0.0, 60.0])


def test_a_call_that_hangs_is_made_once() -> None:
    go, begun = threading.Event(), threading.Event()
    started: list[int] = []

    def wait() -> str:
        started.append(1)
        begun.set()
        go.wait(30)
        return "at last"

    background = Background(wait, clock=lambda: 7.0)
    for _ in range(3):
        with pytest.raises(NotReady, match="no answer for 0 s"):
            background.result(0)
    assert begun.wait(30)
    assert len(started) == 1
    go.set()
    assert background.result(30) == "at last"


def test_what_a_call_raises_is_raised_each_time() -> None:
    def fail() -> None:
        raise OSError(5, "Input/output error")

    background = Background(fail, max_age=60)
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output"):
            background.result(30)


def test_a_call_for_which_there_is_no_thread_is_made_the_next_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    background = Background(lambda: "an answer", max_age=60)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(2):
            with pytest.raises(OSError, match="can't start new thread"):
                background.result(30)
    assert background.result(30) == "an answer"


def test_calls_that_hang_take_the_time_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    go, now = threading.Event(), [100.0]

    class Hanging(Background[bool | Exception]):
        """Waits in a time of its own: that of a busy machine measures the machine."""

        def wait(self, timeout: float) -> bool | Exception:
            now[0] += timeout
            return super().wait(0)

    monkeypatch.setattr(_background, "time", SimpleNamespace(monotonic=lambda: now[0]))
    calls: dict[str, Background[bool | Exception]] = {
        name: Hanging(lambda: go.wait(30)) for name in "abcdefghij"
    }
    calls["z"] = Background(lambda: True, max_age=60)
    assert calls["z"].result(30)
    found = dict(wait_for_all(calls.items(), 0.5))
    assert now[0] == 100.5
    go.set()
    assert found.pop("z") is True
    assert all(isinstance(each, NotReady) for each in found.values())


# -- disks ----------------------------------------------------------------------------------------


def test_disk_space_shows_each_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usages = {"/a": (100, 20, 80), "/b": (1000, 950, 30)}

    def usage(folder: str) -> Any:  # noqa: ANN401 - shutil's own type
        if folder not in usages:
            raise FileNotFoundError(2, "No such file or directory", folder)
        total, used, free = (part * 1024**3 for part in usages[folder])
        return SimpleNamespace(total=total, used=used, free=free)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    meter = made(disk_space.disk_space, disk_folders=("/a", "/b", "/gone"))
    meter.update()
    assert meter.label == "/a 20%\n/b 97%\n/gone: No such file or directory"
    assert (meter.value, meter.labelr, meter.labelg) == (96, 255, 64)
    assert "/b: 30.0 of 1000.0 GiB are free" in meter.tooltip
    usages["/gone"] = (10, 1, 9)  # mounted again
    del usages["/b"]
    meter.update()
    assert meter.label == "/a 20%\n/b: No such file or directory\n/gone 10%"


def test_disk_space_of_a_real_folder_that_vanishes(tmp_path: Path) -> None:
    folder = tmp_path / "scratch"
    folder.mkdir()
    meter = made(disk_space.disk_space, disk_folders=(str(folder),))
    meter.update()
    assert meter.label.endswith("%")
    folder.rmdir()
    meter.update()
    assert re.fullmatch(r".*: (No such file or directory|.*not found|.*cannot find.*)", meter.label)


def test_a_dead_mount_costs_its_own_line(monkeypatch: pytest.MonkeyPatch) -> None:
    real, go = shutil.disk_usage, threading.Event()

    def usage(folder: str) -> Any:  # noqa: ANN401 - shutil's own type
        if folder == "/dead":
            go.wait(30)
        return real("/")

    begun: list[Background[Any]] = []

    class Call(Background[Any]):
        def __init__(self, function: Callable[[], Any]) -> None:
            super().__init__(function, clock=lambda: 7.0)
            begun.append(self)

        def wait(self, timeout: float) -> Any:  # noqa: ANN401 - shutil's own type
            # On a busy machine the disk that answers could need as long as the one that does not.
            assert begun[-1]._ended.wait(30)
            return super().wait(timeout)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    monkeypatch.setattr(disk_space, "Background", Call)
    monkeypatch.setattr(disk_space, "DISK_TIMEOUT", 0.2)
    meter = made(disk_space.disk_space, disk_folders=("/dead", "/"))
    meter.update()
    first, second = meter.label.splitlines()
    assert first == "/dead: no answer for 0 s"
    assert second.startswith("/ ")
    go.set()


def test_the_folder_by_default(tmp_path: Path) -> None:
    variables = {"af_render_hddspace_path": str(tmp_path)}
    meter = made(disk_space.disk_space, variables=variables)
    meter.update()
    assert meter.label.startswith(f"{tmp_path} ")


# -- licences -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("3 of 10", (3, 10)),
        ("nuke_r: 3/10 in use", (3, 10)),
        ("12 out of 40 licenses", (12, 40)),
        ("used: 3\ntotal: 10\n", (3, 10)),
        ("Total: 10, used: 3", (3, 10)),
        ('{"used": 3, "total": 10}', (3, 10)),
        ("3 10\n", (3, 10)),
        (
            "Users of nuke_r:  (Total of 10 licenses issued;  Total of 3 licenses in use)\n",
            (3, 10),
        ),
        ("no licence server", None),
        ("7", None),
        ("", None),
    ],
)
def test_licence_counts(text: str, counts: tuple[int, int] | None) -> None:
    assert licence.read_counts(text) == counts


def test_licences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(licence, "UPDATE_TIMEOUT", 30.0)
    pairs = (
        ("nuke", "echo '3 of 10'"),
        ("arnold", "echo 9/10; echo ignored >&2"),
        ("gone", "echo 'cannot connect' >&2; exit 3"),
        ("odd", "echo hello"),
    )
    meter = made(licence.licence, licences=pairs)
    assert meter.valid
    meter.update()
    assert meter.label == "nuke 3/10\narnold 9/10\ngone error\nodd error"
    assert meter.value == 90
    assert "gone: exit code 3: cannot connect" in meter.tooltip
    assert "odd: exit code 0: hello" in meter.tooltip
    assert meter.labelg == 64


def test_a_slow_licence_server_does_not_delay_the_update(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(licence, "UPDATE_TIMEOUT", 0.05)
    go = tmp_path / "go"
    # No longer than this process lives.
    command = f"while [ ! -e {go} ] && kill -0 $PPID; do sleep 0.02; done; echo 1 2"
    meter = made(licence.licence, licences=(("slow", command),))
    meter.update()
    assert (meter.label, meter.labelr) == ("slow ?", 255)
    go.touch()
    monkeypatch.setattr(licence, "UPDATE_TIMEOUT", 30.0)
    meter.update()
    assert meter.label == "slow 1/2"


def test_a_command_that_hangs_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(licence, "COMMAND_TIMEOUT", 0.3)
    monkeypatch.setattr(licence, "UPDATE_TIMEOUT", 30.0)
    # The pipe has two programs: the shell does not become the first one.
    duration = f"1000.{os.getpid()}"  # no other test of this machine sleeps as long
    meter = made(licence.licence, licences=(("down", f"sleep {duration} | cat"),))
    meter.update()
    assert meter.label == "down error"
    assert "timed out after 0.3 seconds" in meter.tooltip
    found = psutil.process_iter(["cmdline"])
    left = [each for each in found if each.info["cmdline"] == ["sleep", duration]]
    assert psutil.wait_procs(left, timeout=10)[1] == []


def test_no_licences(capsys: pytest.CaptureFixture[str]) -> None:
    assert not made(licence.licence).valid
    assert "names no command" in capsys.readouterr().out


# -- traffic of disks -----------------------------------------------------------------------------

BEFORE = """\
   8       0 sda 1000 0 20480 500 100 0 4096 100 0 600 700
   8       1 sda1 1000 0 20480 500 100 0 4096 100 0 600 700
 259       0 nvme0n1 10 0 80 1 10 0 80 1 0 2 2
 nonsense
"""
NOW = """\
   8       0 sda 1100 0 40960 900 100 0 4096 100 0 1600 2700 0 0 0 0
   8       1 sda1 1100 0 40960 900 100 0 4096 100 0 1600 2700
 259       0 nvme0n1 10 0 80 1 110 0 20560 201 0 102 302
"""


def test_load_of_disks() -> None:
    before, now = iostat.read_diskstats(BEFORE), iostat.read_diskstats(NOW)
    assert set(before) == {"sda", "sda1", "nvme0n1"}
    pair = {name: now[name] for name in ("sda", "nvme0n1")}
    load = iostat.measure_load(before, pair, 2.0)
    assert load == pytest.approx(iostat.DiskLoad(5.0, 5.0, 102.4, 1.0, 4.0, 50.0))
    assert iostat.measure_load(now, before, 2.0) == iostat.DiskLoad(
        0, 0, 0, 0, 0, 0
    )  # counters reset
    assert iostat.measure_load({}, {}, 0.0) == iostat.DiskLoad(0, 0, 0, 0, 0, 0)


def test_iostat_by_its_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stats = tmp_path / "diskstats"
    stats.write_text(BEFORE)
    now = [100.0]
    monkeypatch.setattr(iostat, "DISKSTATS", stats)
    monkeypatch.setattr(iostat, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.delenv("AF_IOSTAT_DEVICE", raising=False)
    settings = {"variables": {iostat.DEVICES_KEY: "sda|nvme.*"}}
    meter = made(iostat.iostat, **settings)
    meter.update()
    assert meter.label.startswith("nvme0n1 sda: rMB/s=0.00")
    stats.write_text(NOW)
    now[0] += 1.0
    meter.update()
    assert meter.value == 100  # a second of busy time in a second
    assert (meter.graphr, meter.graphg, meter.graphb, meter.bgcolorb) == (250, 5, 10, 100)
    monkeypatch.setenv("AF_IOSTAT_DEVICE", "sd")  # the whole name must match
    meter = made(iostat.iostat, **settings)
    meter.update()
    assert meter.label == 'No such devices found: "sd"'
    assert meter.tooltip == "There are: nvme0n1, sda, sda1"


# -- temperature ----------------------------------------------------------------------------------


def test_the_hottest_sensor(monkeypatch: pytest.MonkeyPatch) -> None:
    sensor = SimpleNamespace
    chips = {
        "nvme": [sensor(current=80.0, high=None, critical=None)],
        "coretemp": [
            sensor(current=41.0, high=80.0, critical=90.0),
            sensor(current=67.5, high=80.0, critical=90.0),
            sensor(current=None, high=80.0, critical=90.0),
        ],
    }
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: chips, raising=False)
    meter = made(cpu_temperature.cpu_temperature)
    assert meter.valid
    meter.update()
    assert (meter.value, meter.valuemax, meter.label) == (67, 90, "CPU 68 C")
    assert (meter.graphr, meter.graphg) == (255, 255)
    chips.clear()
    with pytest.raises(RuntimeError, match="sensors are gone"):
        meter.update()
    assert not made(cpu_temperature.cpu_temperature).valid


# -- GPUs -----------------------------------------------------------------------------------------


def smi(*cards: str) -> str:
    return (
        '<?xml version="1.0" ?>\n<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">\n'
        f"<nvidia_smi_log><driver_version>550.1</driver_version>{''.join(cards)}</nvidia_smi_log>"
    )


def smi_card(name: str, used: str, temperature: str, processes: str = "") -> str:
    return f"""<gpu id="00000000:01:00.0"><product_name>{name}</product_name>
        <fb_memory_usage><total>8192 MiB</total><used>{used}</used><free>4096 MiB</free></fb_memory_usage>
        <utilization><gpu_util>37 %</gpu_util><memory_util>0 %</memory_util>
        <encoder_util>N/A</encoder_util><decoder_util>5 %</decoder_util></utilization>
        <temperature><gpu_temp>{temperature}</gpu_temp><gpu_temp_slow_threshold>100 C</gpu_temp_slow_threshold></temperature>
        <processes>{processes}</processes></gpu>"""


PROCESS = (
    "<process_info><process_name>{}</process_name><used_memory>{} MiB</used_memory></process_info>"
)


def fake_smi(monkeypatch: pytest.MonkeyPatch, run: Callable[[], str]) -> Any:  # noqa: ANN401 - a meter
    monkeypatch.setattr(nvidia_smi, "_run_command", run)
    monkeypatch.setattr(nvidia_smi, "UPDATE_TIMEOUT", 30.0)
    return made(nvidia_smi.nvidia_smi)


def test_nvidia_smi_shows_all_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = PROCESS.format("/usr/bin/blender -b a.blend", 3000) + PROCESS.format(
        "C:\\Prog\\redshift.exe", 1000
    )
    text = smi(smi_card("RTX A", "4096 MiB", "82 C", processes), smi_card("RTX B", "N/A", "N/A"))
    meter = fake_smi(monkeypatch, lambda: text)
    meter.update()
    assert meter.label == (
        "v550.1 RTX A 8G (4096M Used / 4096M Free) 82C(100C Max) G37% D5%\n"
        " blender:3000M redshift.exe:1000M\n"
        "RTX B 8G (0M Used / 4096M Free) 0C(100C Max) G37% D5%"
    )
    assert (meter.value, meter.valuemax) == (4096, 16384)
    assert (meter.labelr, meter.labelg, meter.labelb) == (255, 255, 0)
    assert meter.bgcolorb == round(255 * 12 / 25)
    assert "NVIDIA driver 550.1" in meter.tooltip


@pytest.mark.parametrize(
    ("text", "tip"),
    [
        ("NVIDIA-SMI has failed because it couldn't communicate\n", "couldn't communicate"),
        (smi(smi_card("A", "1 MiB", "1 C"))[:300], "is cut"),
        ("", "nothing"),
    ],
)
def test_a_driver_that_prints_no_figures(
    text: str, tip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = fake_smi(monkeypatch, lambda: text)
    meter.update()
    assert (meter.label, meter.labelr) == ("ERROR: no figures", 255)
    assert tip in meter.tooltip


def test_no_nvidia_smi(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise FileNotFoundError(2, "No such file or directory")

    meter = fake_smi(monkeypatch, missing)
    meter.update()
    assert meter.label == "ERROR: Failed to launch nvidia-smi"


class Nvml(SimpleNamespace):
    """A driver's library with two cards: the second is a part (MIG) and reports less."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    class NVMLError_NotSupported(NVMLError):
        pass

    def __init__(self) -> None:
        super().__init__(lost=False, gone=False)

    def nvmlDeviceGetCount(self) -> int:
        if self.gone:
            raise self.NVMLError("Driver Not Loaded")
        return 2

    def nvmlDeviceGetHandleByIndex(self, number: int) -> int:
        if self.lost and number:
            raise self.NVMLError("GPU is lost")
        return number

    def nvmlDeviceGetName(self, card: int) -> str | bytes:
        return b"H100" if card == 0 else "H100 MIG"

    def nvmlDeviceGetMemoryInfo(self, card: int) -> Any:  # noqa: ANN401 - the library's own type
        return SimpleNamespace(total=80 << 30, used=(5 + card) << 30)

    def nvmlDeviceGetUtilizationRates(self, card: int) -> Any:  # noqa: ANN401 - as above
        if card:
            raise self.NVMLError_NotSupported("Not Supported")
        return SimpleNamespace(gpu=93, memory=1)

    def nvmlDeviceGetPowerUsage(self, card: int) -> int:
        return 350_400

    def nvmlDeviceGetTemperature(self, card: int, kind: int) -> int:
        return 61


def test_all_cards_of_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = Nvml()
    monkeypatch.setattr(gpu, "_load_nvml", lambda: nvml)
    meter = made(gpu.gpu)
    assert meter.valid
    meter.update()
    assert meter.label == "H100 93% 5120/81920M 61C 350W\nH100 MIG 6144/81920M 61C 350W"
    assert (meter.value, meter.graphr, meter.labelg) == (93, 255, 255)
    nvml.lost = True
    meter.update()
    assert meter.label.endswith("card 1: error")
    assert "GPU is lost" in meter.tooltip
    nvml.lost, nvml.gone = False, True
    with pytest.raises(Nvml.NVMLError, match="Driver Not Loaded"):
        meter.update()
    nvml.gone = False
    meter.update()
    assert meter.value == 93


def test_no_driver(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def missing() -> object:
        raise ImportError("No module named pynvml")

    monkeypatch.setattr(gpu, "_load_nvml", missing)
    assert not made(gpu.gpu).valid
    assert "No module named pynvml" in capsys.readouterr().out
