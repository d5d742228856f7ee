"""Usage of real processes, and of a /proc in which files are missing."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import types
from pathlib import Path

import pytest
import trio
from support.process import make_launch, open_trees

from trio_afrender.hostinfo import process_usage
from trio_afrender.hostinfo.process_usage import (
    ProcReader,
    ThreadedUsageReader,
    _PsutilReader,
    make_usage_reader,
    parse_stat,
)
from trio_afrender.task.usage_totals import TreeUsage

MIB = 1024**2
STAT = b"42 (a ) b) S 7 42 42 0 -1 4194304 1 0 0 0 150 50 300 100 20 0 1 0 9000 1 1"

linux_only = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc here")


def test_a_name_may_contain_anything() -> None:
    usage = parse_stat(STAT)
    assert (usage.pid, usage.name, usage.state, usage.parent) == (42, "a ) b", "S", 7)
    assert (usage.cpu, usage.waited, usage.started) == (2.0, 4.0, 9000.0)


@pytest.mark.parametrize("reader", [make_usage_reader(), _PsutilReader()], ids=["own", "psutil"])
def test_the_usage_of_this_process_is_plausible(reader: ProcReader) -> None:
    (usage,) = reader.read([os.getpid()])
    assert usage.parent == os.getppid()
    assert usage.resident > 5 * MIB
    assert usage.peak >= usage.resident
    assert usage.cpu > 0
    assert reader.read([2**22 + 5]) == ()
    assert reader.read_usage_now(2**22 + 5) is None


@linux_only
def test_a_figure_that_cannot_be_read_is_zero(tmp_path: Path) -> None:
    (tmp_path / "42").mkdir()
    (tmp_path / "42" / "stat").write_bytes(STAT)
    reader = ProcReader(str(tmp_path))
    (usage,) = reader.read([42])
    assert (usage.cpu, usage.resident, usage.read) == (2.0, 0, 0)
    (tmp_path / "42" / "status").write_bytes(
        b"Name: a\nVmHWM:\t  200 kB\nVmRSS:\t  100 kB\nThreads:\t1\n"
    )
    (tmp_path / "42" / "statm").write_bytes(b"50 25 4 1 0 9 0\n")
    (tmp_path / "42" / "io").write_bytes(b"rchar: 5\nwchar: 6\nread_bytes: 7\nwrite_bytes: 8\n")
    (usage,) = reader.read([42])
    assert (usage.resident, usage.peak) == (100 * 1024, 200 * 1024)
    assert (usage.read, usage.written, usage.passed) == (7, 8, 11)
    (tmp_path / "42" / "stat").write_bytes(b"nonsense")
    assert reader.read([42]) == ()


@linux_only
def test_the_share_of_an_unchanged_process_is_seldom_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, spent = [0.0], [0.0]

    def thread_time() -> float:  # a reading takes 2 ms, so there are no two of them in a second
        spent[0] += 0.002
        return spent[0]

    clocks = types.SimpleNamespace(monotonic=lambda: now[0], thread_time=thread_time)
    monkeypatch.setattr(process_usage, "time", clocks)
    folder = tmp_path / "42"
    folder.mkdir()
    (folder / "stat").write_bytes(STAT)
    reader = ProcReader(str(tmp_path))
    seen = []
    moments = (
        (0, 25, 50), (5, 25, 10), (59, 25, 10), (60, 25, 10), (61, 50, 20),
        (61.1, 100, 400), (61.2, 100, 400), (62.1, 100, 400), (70, 100, 0),
    )  # fmt: skip
    for moment, pages, own in moments:
        now[0] = moment
        (folder / "statm").write_bytes(b"900 %d 4 1 0 9 0\n" % pages)
        (folder / "status").write_bytes(b"Name: a\nVmHWM: 999 kB\nVmRSS:\t%d kB\n" % (4 * pages))
        (folder / "smaps_rollup").write_bytes(b"0 rollup\nPss:\t %d kB\nPss_Anon: 1 kB\n" % own)
        (usage,) = reader.read([42])
        assert usage.peak == 999 * 1024
        seen.append(usage.resident // 1024)
    # A process that has just grown has its old proportion for the rest of that second, no longer.
    assert seen == [50, 50, 50, 10, 20, 40, 40, 400, 400]


@linux_only
def test_shared_memory_counts_once() -> None:
    script = (
        "import os, sys, time\n"
        "block = bytearray(64 << 20)\n"
        "children = [os.fork() for _ in range(1)]\n"
        "print('up', flush=True) if children[0] else None\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        found = ProcReader().read([process.pid, *map(int, children)])
        process.stdin.close()
        assert len(found) == 2
        assert 64 * MIB <= sum(usage.resident for usage in found) < 100 * MIB
        assert all(usage.peak >= 64 * MIB for usage in found[1:])


@linux_only
async def test_cpu_of_a_real_tree_is_not_lost_when_members_end(tmp_path: Path) -> None:
    burn = "import time; t = time.process_time()\nwhile time.process_time() - t < 0.3: pass"
    script = f'"{sys.executable}" -S -c "$0"; echo up; read wait; "{sys.executable}" -S -c "$0"'
    reader, usage = ThreadedUsageReader(make_usage_reader()), TreeUsage(0.0)
    launch = make_launch("/bin/sh", "-c", f"{script}; exit 0", burn)
    async with open_trees(tmp_path) as trees, trees.run(launch) as started:
        # stdin is empty: `read` returns at once.
        tree = started.tree
        usage.advance(await reader.read(await tree.members()), 1.0)
        await tree.exited()
        assert tree.final_usage is not None
        assert tree.final_usage.cpu >= 0.6


async def test_a_reading_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck(ProcReader):
        def read(self, pids: object) -> tuple[()]:
            release.wait()
            return ()

    release = threading.Event()
    monkeypatch.setattr("trio_afrender.hostinfo.process_usage.READ_TIMEOUT", 0.01)
    reader = ThreadedUsageReader(Stuck())
    with trio.fail_after(10):
        assert await reader.read([1]) == ()
    release.set()


@pytest.mark.parametrize("reader", [make_usage_reader(), _PsutilReader()], ids=["own", "psutil"])
def test_the_largest_come_first(reader: ProcReader) -> None:
    sizes = [usage.resident for usage in reader.largest(5)]
    assert sizes == sorted(sizes, reverse=True)
    assert 0 < len(sizes) <= 5
    (own,) = reader.read([os.getpid()])
    assert reader.largest(10_000)[0].resident >= own.resident / 2
