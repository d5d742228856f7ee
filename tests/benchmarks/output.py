"""Speed of output to disk and through a line reader, beside a bare loop of the same run.

Compare ratios, not absolute figures. ``python tests/benchmarks/output.py [megabytes] [runs]``
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import trio
from support.written_log import open_written_log

from trio_afrender.tasklog.head_tail import read_window
from trio_afrender.tasklog.line_splitter import LineBatcher
from trio_afrender.tasklog.redact import Redactor

BLOCK = 256 * 1024
PIPE = 1024 * 1024
PRINTER = """
import os, sys
line = b"Fra:%03d Mem:123.45M (Peak 150.00M) | Time:00:01.23 | Rendering 12 / 64 samples\\n"
block = b"".join(line % number for number in range(1000))
left = int(sys.argv[1])
while left > 0:
    left -= os.write(1, block[:left])
"""


@contextlib.contextmanager
def print_into_pipe(size: int) -> Iterator[int]:
    """Yield the reading end of a pipe; a process prints `size` bytes of lines into it."""
    out, into = os.pipe()
    with contextlib.suppress(OSError):
        fcntl.fcntl(out, fcntl.F_SETPIPE_SZ, PIPE)
    with subprocess.Popen([sys.executable, "-c", PRINTER, str(size)], stdout=into):
        os.close(into)
        yield out
        os.close(out)


def run_bare_loop(folder: Path, size: int) -> float:
    """Read the pipe and write a file; return seconds from the first byte."""
    with print_into_pipe(size) as out, (folder / "bare").open("wb", buffering=0) as file:
        data = os.read(out, PIPE)
        start = time.perf_counter()
        while data:
            file.write(data)
            data = os.read(out, PIPE)
        return time.perf_counter() - start


def run_log(folder: Path, size: int, *, follow: bool) -> float:
    """Splice into a log, with or without a line reader; return seconds from the first byte."""
    with print_into_pipe(size) as out:
        os.set_blocking(out, False)
        return trio.run(_fill_and_follow, folder / "log", out, size, follow)


async def _fill_and_follow(folder: Path, out: int, size: int, follow: bool) -> float:
    async def read_lines() -> None:
        reader, batcher, at = log.reader(), LineBatcher(), 0
        while not log.ended or at < log.size:
            await log.wait_beyond(at)
            while at < log.size:
                chunk = await trio.to_thread.run_sync(reader.read, at, BLOCK)
                batcher.feed(chunk.data)
                at = chunk.end
        batcher.finish()
        if batcher.fed != size:
            raise RuntimeError(f"{batcher.fed} bytes of {size} were read")

    async with open_written_log(folder) as log:
        await trio.lowlevel.wait_readable(out)
        start = time.perf_counter()
        async with trio.open_nursery() as nursery:
            if follow:
                nursery.start_soon(read_lines)
            while await log.fill_from(out):
                pass
            log.end()
        return time.perf_counter() - start


def run_bare_files(folder: Path, count: int) -> float:
    """Write small files, one after another: the minimum for the log of a tiny task."""
    start = time.perf_counter()
    for number in range(count):
        (folder / f"bare-{number}").mkdir()
        with (folder / f"bare-{number}" / "log").open("wb", buffering=0) as file:
            file.write(b"hello\n")
    return time.perf_counter() - start


def run_tiny_logs(folder: Path, count: int) -> float:
    """Write logs, one after another: open, a few bytes from a pipe, end, window, close."""

    async def main() -> float:
        start = time.perf_counter()
        for number in range(count):
            out, into = os.pipe2(os.O_NONBLOCK)
            async with open_written_log(folder / f"log-{number}") as log:
                os.write(into, b"hello\n")
                os.close(into)
                while await log.fill_from(out):
                    pass
                log.end()
                await read_window(log, 1 << 20)
            os.close(out)
        return time.perf_counter() - start

    return trio.run(main)


def run_batcher(_folder: Path, size: int) -> float:
    """Cut data in memory into batches."""
    return _run_over_blocks(size, LineBatcher().feed)


def run_redactor(_folder: Path, size: int) -> float:
    """Redact three secrets in data in memory."""
    redactor = Redactor(("hunter2-hunter2", "0123456789abcdef", "rendering-is-fun"))
    return _run_over_blocks(size, lambda block: redactor.feed(block.decode()))


def _run_over_blocks(size: int, work: Callable[[bytes], object]) -> float:
    line = b"Fra:001 Mem:123.45M (Peak 150.00M) | Time:00:01.23 | Rendering 12 / 64 samples\n"
    block = (line * (BLOCK // len(line) + 1))[:BLOCK]
    start = time.perf_counter()
    for _ in range(size // BLOCK):
        work(block)
    return time.perf_counter() - start


def measure(run: Callable[[Path], float], runs: int) -> tuple[float, float]:
    """Return minimum and median of the seconds of some runs, each in a new folder."""
    times = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            times.append(run(Path(folder)))
    return min(times), statistics.median(times)


def main(megabytes: int = 200, runs: int = 5) -> None:
    size, count = megabytes * 1_000_000, 200
    write = sys.stdout.write
    bare = measure(partial(run_bare_loop, size=size), runs)
    write(f"{'read and write, bare':38}{_format_speed(size, bare)}\n")
    for name, follow in (("log", False), ("log, with a line reader", True)):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        times = measure(partial(run_log, size=size, follow=follow), runs)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        write(f"{name:38}{_format_speed(size, times)}   {bare[1] / times[1]:5.2f} of bare")
        write(f"   peak memory +{grown:.1f} MiB\n")
    for name, work in (("line batches in memory", run_batcher), ("redaction", run_redactor)):
        times = measure(partial(work, size=size), runs)
        write(f"{name:38}{_format_speed(size, times)}\n")
    bare = measure(partial(run_bare_files, count=count), runs)
    times = measure(partial(run_tiny_logs, count=count), runs)
    write(f"{'tiny log against a bare file':38}{bare[1] / count * 1e6:7.0f} us")
    write(f" {times[1] / count * 1e6:7.0f} us   {bare[1] / times[1]:5.2f} of bare\n")


def _format_speed(size: int, times: tuple[float, float]) -> str:
    best, median = times
    return f"{size / best / 1e6:7.0f} {size / median / 1e6:7.0f} MB/s (best, median)"


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
