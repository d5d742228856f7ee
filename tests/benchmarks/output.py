"""How fast output gets to disk and through a line reader behind it, against a bare loop.

Run it as a script; each figure stands beside a plain loop of the same run, and the ratio is what
counts. ``python tests/benchmarks/output.py [megabytes] [runs]``
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

from trio_afrender.tasklog.head_tail import read_window
from trio_afrender.tasklog.line_splitter import LineBatcher
from trio_afrender.tasklog.local_log import open_run_log
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
    """Yield the reading end of a pipe into which a process prints lines as fast as it can."""
    out, into = os.pipe()
    with contextlib.suppress(OSError):
        fcntl.fcntl(out, fcntl.F_SETPIPE_SZ, PIPE)
    with subprocess.Popen([sys.executable, "-c", PRINTER, str(size)], stdout=into):
        os.close(into)
        yield out
        os.close(out)


def run_bare_loop(folder: Path, size: int) -> float:
    """Read and write, nothing else; return seconds from the first byte."""
    with print_into_pipe(size) as out, (folder / "bare").open("wb", buffering=0) as file:
        data = os.read(out, PIPE)
        start = time.perf_counter()
        while data:
            file.write(data)
            data = os.read(out, PIPE)
        return time.perf_counter() - start


def run_log(folder: Path, size: int, *, follow: bool) -> float:
    """Splice into a log, with or without a line reader behind; return seconds from the first byte."""
    with print_into_pipe(size) as out:
        os.set_blocking(out, False)
        return trio.run(_fill_and_follow, folder / "log", out, size, follow)


async def _fill_and_follow(folder: Path, out: int, size: int, follow: bool) -> float:
    async def read_behind() -> None:
        reader, batcher, at = log.reader(), LineBatcher(), 0
        while not log.ended or at < log.size:
            await log.wait_beyond(at)
            while at < log.size:
                chunk = await trio.to_thread.run_sync(reader.read, at, BLOCK)
                batcher.feed(chunk.data)
                at = chunk.end
        batcher.finish()
        if batcher.fed != size:
            raise RuntimeError(f"{batcher.fed} bytes of {size} came through")

    async with open_run_log(folder) as log:
        await trio.lowlevel.wait_readable(out)
        start = time.perf_counter()
        async with trio.open_nursery() as nursery:
            if follow:
                nursery.start_soon(read_behind)
            while await log.fill_from(out):
                pass
            log.end()
        return time.perf_counter() - start


def run_bare_files(folder: Path, count: int) -> float:
    """One small file after another: what a log of a tiny task cannot do without."""
    start = time.perf_counter()
    for number in range(count):
        (folder / f"bare-{number}").mkdir()
        with (folder / f"bare-{number}" / "log").open("wb", buffering=0) as file:
            file.write(b"hello\n")
    return time.perf_counter() - start


def run_tiny_logs(folder: Path, count: int) -> float:
    """One log after another: open, a few bytes from a pipe, end of output, window, close."""

    async def main() -> float:
        start = time.perf_counter()
        for number in range(count):
            out, into = os.pipe2(os.O_NONBLOCK)
            async with open_run_log(folder / f"log-{number}") as log:
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
    """Cut what lies in memory into batches."""
    return _run_over_blocks(size, LineBatcher().feed)


def run_redactor(_folder: Path, size: int) -> float:
    """Blot three secrets out of what lies in memory."""
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
    """Return the least and the median of the seconds of some runs, each in a fresh folder."""
    taken = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            taken.append(run(Path(folder)))
    return min(taken), statistics.median(taken)


def main(megabytes: int = 200, runs: int = 5) -> None:
    size, count = megabytes * 1_000_000, 200
    say = sys.stdout.write
    bare = measure(partial(run_bare_loop, size=size), runs)
    say(f"{'read and write, bare':38}{_speed(size, bare)}\n")
    for name, follow in (("log", False), ("log, lines read behind", True)):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        taken = measure(partial(run_log, size=size, follow=follow), runs)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        say(f"{name:38}{_speed(size, taken)}   {bare[1] / taken[1]:5.2f} of bare")
        say(f"   high water +{grown:.1f} MiB\n")
    for name, work in (("line batches in memory", run_batcher), ("redaction", run_redactor)):
        taken = measure(partial(work, size=size), runs)
        say(f"{name:38}{_speed(size, taken)}\n")
    bare = measure(partial(run_bare_files, count=count), runs)
    taken = measure(partial(run_tiny_logs, count=count), runs)
    say(f"{'tiny log against a bare file':38}{bare[1] / count * 1e6:7.0f} us")
    say(f" {taken[1] / count * 1e6:7.0f} us   {bare[1] / taken[1]:5.2f} of bare\n")


def _speed(size: int, taken: tuple[float, float]) -> str:
    least, median = taken
    return f"{size / least / 1e6:7.0f} {size / median / 1e6:7.0f} MB/s (best, median)"


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
