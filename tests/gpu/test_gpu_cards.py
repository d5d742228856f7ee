"""Figures of a real NVIDIA card, compared with those of the driver's program."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from trio_afrender.hostinfo.gpu import GpuSampler, classic_fields, shares_of
from trio_afrender.hostinfo.nvidia_smi import NvidiaSmi
from trio_afrender.hostinfo.sampler import Sampler
from trio_afrender.protocol.messages import GpuCard

ALLOCATE = """
import ctypes, os, sys
cuda = ctypes.CDLL("libcuda.so.1")
device, context, block = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
for code in (cuda.cuInit(0), cuda.cuDeviceGet(ctypes.byref(device), 0),
             cuda.cuCtxCreate_v2(ctypes.byref(context), 0, device),
             cuda.cuMemAlloc_v2(ctypes.byref(block), ctypes.c_size_t(512 << 20))):
    assert code == 0, code
print("up", flush=True)
sys.stdin.read()
"""
"""Allocates 512 MiB of the first card."""


def find_gpus() -> tuple[GpuCard, ...]:
    try:
        return GpuSampler().read()
    except OSError:
        return ()


GPUS = find_gpus()
pytestmark = pytest.mark.skipif(not GPUS, reason="no NVIDIA card with a driver here")


@pytest.fixture
def holder() -> Iterator[int]:
    """The pid of a process that has memory of the first card."""
    with subprocess.Popen(
        [sys.executable, "-c", ALLOCATE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != b"up\n":
            pytest.skip("the card cannot be used by CUDA here")
        yield process.pid
        process.stdin.close()


def test_the_drivers_program_lists_the_same_cards() -> None:
    if shutil.which("nvidia-smi") is None:
        pytest.skip("no nvidia-smi here")
    query = [
        "nvidia-smi",
        "--query-gpu=index,uuid,name,memory.total",
        "--format=csv,noheader,nounits",
    ]
    text = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    rows = [[word.strip() for word in row] for row in csv.reader(text.splitlines())]
    whole = [card for card in GPUS if card.part is None]
    assert [(str(c.index), c.uuid, c.name) for c in whole] == [
        (row[0], row[1], row[2]) for row in rows if any(c.uuid == row[1] for c in whole)
    ]
    by_program = NvidiaSmi().read()
    assert {c.uuid for c in whole} <= {c.uuid for c in by_program}


def test_figures_are_plausible() -> None:
    for card in GPUS:
        assert card.mem_total_mb > 0
        assert 0 <= card.mem_used_mb <= card.mem_total_mb
        assert card.util is None or 0 <= card.util <= 100
        assert card.temp is None or 0 < card.temp < 120
        assert card.power_watt is None or 0 < card.power_watt < 2000
    fields = classic_fields(GPUS)
    assert fields["gpu_string"]
    assert Sampler().sample().gpu_string == fields["gpu_string"]


def test_the_memory_of_a_process_is_attributed_to_it(holder: int) -> None:
    shares = shares_of(GpuSampler().read())
    if holder not in shares and os.getpid() != 1:
        pytest.skip("the driver reports other process numbers than this container's")
    assert shares[holder].memory >= 512 * 1024**2
