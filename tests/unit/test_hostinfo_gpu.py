"""GPUs of all kinds and in all states, through the library, the program or a command."""

from __future__ import annotations

import ctypes
import logging
import shutil
import sys
from collections.abc import Sequence

import psutil
import pytest
from support.nvml import (
    GIB,
    FakeCard,
    FakeLibrary,
    NVMLError_DriverNotLoaded,
    NVMLError_GpuIsLost,
    NVMLError_LibraryNotFound,
    NVMLError_LibRmVersionMismatch,
    open_nvml,
)

from trio_afrender.hostinfo import gpu
from trio_afrender.hostinfo.gpu import (
    GpuSampler,
    classic_fields,
    gpu_meters,
    has_library,
    is_unclaimed,
    shares_of,
)
from trio_afrender.hostinfo.nvidia_smi import (
    NvidiaSmi,
    parse_first_gpu,
    parse_gpus,
    parse_processes,
    run_program,
)
from trio_afrender.hostinfo.process_usage import GpuShare
from trio_afrender.protocol.messages import GpuCard, GpuProcess

SMI_GPUS = """0, GPU-a, NVIDIA RTX A6000, 97, 49140, 30012, 81, 290.51, 300.00
1, GPU-b, "NVIDIA Odd, with a comma", [N/A], 8192, 12, 35, [Not Supported], [N/A]
"""
SMI_PROCESSES = """GPU-a, 4711, 29000
GPU-a, 4712, [N/A]
GPU-b, none, 5
"""


def test_all_gpus_are_read_with_their_processes() -> None:
    first = FakeCard(processes={10: 2 * GIB, 11: None}, percents=[(10, 30), (10, 50), (0, 9)])
    second = FakeCard(name="RTX", uuid="GPU-2", total=8 * GIB, util=0, power=None)
    gpus = open_nvml(first, second).read()
    assert gpus[0] == GpuCard(
        index=0,
        uuid="GPU-1",
        name="NVIDIA H200",
        util=42,
        mem_total_mb=141 * 1024,
        mem_used_mb=3 * 1024,
        temp=33,
        power_watt=123,
        processes=(
            GpuProcess(pid=10, memory_mb=2048, percent=40),
            GpuProcess(pid=11, memory_mb=0, percent=0),
        ),
    )
    assert (gpus[1].index, gpus[1].name, gpus[1].power_watt) == (1, "RTX", None)


def test_each_mig_instance_is_reported() -> None:
    parts = [
        FakeCard(name="NVIDIA A100 MIG 3g.20gb", uuid="MIG-a", total=20 * GIB, used=GIB),
        FakeCard(name="", uuid="MIG-b", total=20 * GIB, used=2 * GIB, processes={9: GIB}),
    ]
    whole = FakeCard(name="NVIDIA A100", temp=61, parts=parts)
    gpus = open_nvml(whole).read()
    assert [(card.part, card.uuid, card.util) for card in gpus] == [
        (0, "MIG-a", None),
        (1, "MIG-b", None),
    ]
    assert [card.name for card in gpus] == ["NVIDIA A100 MIG 3g.20gb", "NVIDIA A100"]
    assert gpus[1].processes == (GpuProcess(pid=9, memory_mb=1024),)
    fields = classic_fields(gpus)
    assert fields["gpu_mem_total_mb"] == 40 * 1024
    assert (fields["gpu_mem_used_mb"], fields["gpu_gpu_temp"]) == (3 * 1024, 61)


def test_a_lost_gpu_leaves_the_others() -> None:
    gpus = open_nvml(FakeCard(lost=True), FakeCard(uuid="GPU-2")).read()
    assert [card.uuid for card in gpus] == ["GPU-2"]
    with pytest.raises(NVMLError_GpuIsLost):
        open_nvml(FakeCard(lost=True)).read()


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> FakeLibrary:
    library = FakeLibrary()
    monkeypatch.setitem(sys.modules, "pynvml", library)
    monkeypatch.setattr(gpu, "has_library", lambda: True)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    return library


def test_a_failing_driver_is_logged_once_and_tried_again_after_a_minute(
    library: FakeLibrary, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    gpus = GpuSampler(clock=lambda: now[0])
    assert len(gpus.read()) == 1
    library.driver_error = NVMLError_LibRmVersionMismatch
    for _ in range(3):
        with pytest.raises(OSError, match="LibRmVersionMismatch"):
            gpus.read()
        now[0] += 20
    assert (library.inits, library.closed) == (1, 1)
    now[0] += 20
    with pytest.raises(OSError, match="LibRmVersionMismatch"):
        gpus.read()
    assert library.inits == 2
    assert caplog.text.count("GPUs can no longer be measured") == 1
    library.driver_error = None
    now[0] += 61
    assert len(gpus.read()) == 1


def test_without_a_driver_there_is_no_gpu_and_no_log(
    library: FakeLibrary, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    now = [0.0]
    gpus = GpuSampler(clock=lambda: now[0])
    for problem in (NVMLError_DriverNotLoaded, NVMLError_LibraryNotFound):
        library.driver_error = problem
        assert [gpus.read(), gpus.read()] == [(), ()]
        now[0] += 61
    assert library.inits == 2
    assert caplog.text == ""
    library.driver_error = None  # it has been loaded meanwhile
    assert len(gpus.read()) == 1


def test_without_the_drivers_library_its_binding_is_not_loaded(
    library: FakeLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(gpu, "has_library", has_library)
    monkeypatch.setattr(ctypes, "CDLL", refuse)
    if not has_library():  # otherwise this system has no /proc and the binding searches by itself
        assert GpuSampler().read() == ()
        assert library.inits == 0


def test_without_the_binding_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "has_library", lambda: True)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    gpus = GpuSampler()
    assert [gpus.read(), gpus.read()] == [(), ()]


def test_the_program_replaces_a_library_that_cannot_be_loaded(
    library: FakeLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.driver_error = NVMLError_LibraryNotFound
    asked: list[Sequence[str]] = []

    def run(argv: Sequence[str]) -> str:
        asked.append(argv)
        return SMI_GPUS if "--query-gpu" in argv[1] else SMI_PROCESSES

    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(gpu, "NvidiaSmi", lambda: NvidiaSmi(run))
    first, second = GpuSampler().read()
    assert [argv[0] for argv in asked] == ["nvidia-smi"] * 2
    assert (first.util, first.mem_used_mb, first.temp, first.power_watt) == (97, 30012, 81, 290)
    assert first.processes == (GpuProcess(pid=4711, memory_mb=29000), GpuProcess(pid=4712))
    assert (second.name, second.util, second.power_watt, second.processes) == (
        "NVIDIA Odd, with a comma", None, None, (),
    )  # fmt: skip


@pytest.mark.parametrize("text", ["", "\n", "No devices were found\n", "1, 2\n", "\x00\x01,,,"])
def test_unexpected_output_of_the_program_is_no_gpu(text: str) -> None:
    assert parse_gpus(text, {}) == ()
    assert parse_processes(text) == {}
    assert parse_first_gpu(text) == ()


def test_a_command_of_the_settings_measures_the_first_gpu(library: FakeLibrary) -> None:
    (card,) = GpuSampler("echo '55, 60, 16368, 1024, Radeon Pro W6800'").read()
    assert classic_fields([card]) == {
        "gpu_gpu_util": 55,
        "gpu_gpu_temp": 60,
        "gpu_mem_total_mb": 16368,
        "gpu_mem_used_mb": 1024,
        "gpu_string": "Radeon Pro W6800",
    }
    assert library.inits == 0
    with pytest.raises(OSError, match="failed with 3: sorry"):
        GpuSampler("echo sorry; exit 3").read()
    # CGRU's default command runs nvidia-smi: the library is used instead.
    assert len(GpuSampler("nvidia-smi --id=0 --query-gpu=utilization.gpu").read()) == 1


def test_a_command_of_the_settings_that_prints_no_figures_has_failed(
    library: FakeLibrary, caplog: pytest.LogCaptureFixture
) -> None:
    for printed in ("no such device", "1, 2", "a, b, c, d, e"):
        with pytest.raises(OSError, match=f"printed no line of load.*: {printed}"):
            GpuSampler(f"echo '{printed}'").read()
        assert printed in caplog.text
    assert GpuSampler("true").read() == ()
    [card] = GpuSampler("printf 'load, temp, total, used, name\\n5, 6, 7, 8, Arc\\n'").read()
    assert (card.name, card.util, card.mem_used_mb) == ("Arc", 5, 8)


def test_a_program_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_afrender.hostinfo.nvidia_smi.RUN_TIMEOUT", 0.05)
    with pytest.raises(OSError, match="gave no answer"):
        run_program([sys.executable, "-c", "import time; time.sleep(1000)"])


def test_what_a_shell_has_started_is_given_up_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_afrender.hostinfo.nvidia_smi.RUN_TIMEOUT", 0.3)
    with pytest.raises(OSError, match="gave no answer"):
        # A pipe of two programs: the shell does not become the first one.
        run_program(["/bin/sh", "-c", "sleep 1000.25 | cat"])
    found = psutil.process_iter(["cmdline"])
    left = [each for each in found if each.info["cmdline"] == ["sleep", "1000.25"]]
    assert psutil.wait_procs(left, timeout=10)[1] == []


def test_several_gpus_become_meters() -> None:
    one = GpuCard(name="A", mem_total_mb=100, mem_used_mb=50, util=7, temp=40, power_watt=90)
    part = GpuCard(index=1, part=0, processes=(GpuProcess(pid=1),))
    assert gpu_meters([one]) == ()
    first, second = gpu_meters([one, part])
    assert (first.value, first.valuemax, first.label) == (50, 100, "GPU0 7% 40C")
    assert first.tooltip == "A\n50 of 100 MiB, 90 W, 0 processes"
    assert (first.graphr, first.graphg) == (127, 127)
    assert (second.value, second.valuemax, second.label) == (0, 1, "GPU1.0")
    assert classic_fields([]) == {}


def test_a_process_may_use_several_gpus() -> None:
    gpus = [
        GpuCard(processes=(GpuProcess(pid=5, memory_mb=1, percent=90),)),
        GpuCard(index=1, processes=(GpuProcess(pid=5, memory_mb=2, percent=30),)),
    ]
    assert shares_of(gpus) == {5: GpuShare(memory=3 * 1024**2, percent=120)}


OURS, UNRELATED = 10, 999


@pytest.mark.parametrize(
    ("card", "unclaimed"),
    [
        (GpuCard(), False),
        (GpuCard(util=0, mem_used_mb=500), False),
        (GpuCard(util=90), True),
        (GpuCard(util=90, processes=(GpuProcess(pid=OURS, percent=0),)), True),
        (GpuCard(util=90, processes=(GpuProcess(pid=OURS, percent=88),)), False),
        (GpuCard(util=90, processes=(GpuProcess(pid=UNRELATED, percent=88),)), True),
        (GpuCard(util=None, mem_used_mb=500), True),
    ],
)
def test_a_gpu_that_works_for_no_reported_process(card: GpuCard, unclaimed: bool) -> None:
    assert is_unclaimed([GpuCard(util=0), card], lambda pid: pid == OURS) is unclaimed
    assert not is_unclaimed([], lambda _: True)
