"""A process that had large blocks in several threads returns their memory to the kernel."""

from __future__ import annotations

import subprocess
import sys

import pytest

from trio_afrender.cli import malloc
from trio_afrender.cli.malloc import limit_malloc_arenas

PROGRAM = """
import os, sys, threading
from pathlib import Path
from trio_afrender.cli.malloc import limit_malloc_arenas

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def work():
    for turn in range(10):
        large = []
        for i in range(8):
            large.append(bytearray(b"x") * 1_000_000)
            kept.append(bytearray(b"y") * 2000)  # above the large one: a heap cannot shrink below it
        del large

kept = []
assert limit_malloc_arenas({}) is True
work()
before = resident()
threads = [threading.Thread(target=work) for _ in range(12)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print((resident() - before) >> 20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_large_blocks_go_back_to_the_kernel() -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True
    )
    assert int(run.stdout) <= 5, "MiB"


def test_the_parameters_are_those_of_mallopt() -> None:
    """mallopt returns success for an unknown parameter, too."""
    assert (malloc.M_MMAP_THRESHOLD, malloc.M_ARENA_MAX) == (-3, -8)


def test_settings_of_the_user_stay() -> None:
    assert not limit_malloc_arenas({"MALLOC_ARENA_MAX": "8"})
    assert not limit_malloc_arenas({"GLIBC_TUNABLES": "glibc.malloc.arena_max=8"})
