"""Delays of plugin calls while a faulty plugin runs in another task.

``python tests/benchmarks/plugins.py [seconds]`` prints a Markdown table, a row for each fault. For
so many seconds tasks are opened and closed one after another; at the same time the parser of
another task, which has read a log of 4 MB, is called with one new line each time. The columns are
milliseconds, median and worst: of opening a task, of that parser call, of the calls at a task's
end. The first row is without a fault. `hosts` is the greatest number of plugin hosts, `memory` that
of all plugin processes at the end, shared memory counted once.
"""

from __future__ import annotations

import logging
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import psutil
import trio

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))

from support.plugins import PLUGINS, make_spec  # noqa: E402 - found by the path above
from support.written_log import WrittenLog, open_written_log  # noqa: E402 - as above

from trio_afrender.config import PluginSettings  # noqa: E402 - as above
from trio_afrender.plugins.host.host_pool import HostRunner, open_plugin_host  # noqa: E402 - as above
from trio_afrender.plugins.interfaces import PluginTask  # noqa: E402 - as above

FAULTS = {
    "no fault": ("", b""),
    "a regular expression without end": ("bad_regex", b"x" * 64 + b"\n"),
    "a loop without end": ("bad_loop", b"LOOP\n"),
    "sleep without end": ("bad_sleep", b"WAIT\n"),
    "`os._exit`": ("bad_os_exit", b"EXIT\n"),
    "a crash": ("bad_segfault", b"CRASH\n"),
    "2 GB at once": ("bad_gorge", b"GORGE\n"),
    "2 GB, 1 MiB at a time": ("bad_gorge", b"GROW\n"),
}
PAUSE = 0.01
LINES = 200_000


@attrs.define
class Delays:
    """Milliseconds of each call."""

    starts: list[float] = attrs.field(factory=list)
    progress: list[float] = attrs.field(factory=list)
    ends: list[float] = attrs.field(factory=list)
    hosts: int = 0
    memory: float = 0.0


async def measure_call(times: list[float], call: Callable[[], Awaitable[object]]) -> None:
    start = trio.current_time()
    await call()
    times.append((trio.current_time() - start) * 1000)


@asynccontextmanager
async def open_task(
    runner: HostRunner, folder: Path, parser: str
) -> AsyncIterator[tuple[PluginTask, WrittenLog]]:
    async with (
        open_written_log(Path(tempfile.mkdtemp(dir=folder))) as log,
        runner.open_task(make_spec(parser), log) as task,
    ):
        yield task, log


async def run_faulty(runner: HostRunner, folder: Path, parser: str, fatal: bytes) -> None:
    """Run the faulty parser in one task after another, as a job does."""
    while parser:
        async with open_task(runner, folder, parser) as (task, log):
            await log.append(fatal)
            await task.parse(log.size)


async def start_tasks(runner: HostRunner, folder: Path, delays: Delays) -> None:
    while True:
        async with open_written_log(Path(tempfile.mkdtemp(dir=folder))) as log:
            started_at = trio.current_time()
            async with runner.open_task(make_spec("generic"), log) as task:
                delays.starts.append((trio.current_time() - started_at) * 1000)
                await log.append(b"FRAME: 1\n")
                await task.parse(log.size)

                async def end(task: PluginTask = task, log: WrittenLog = log) -> None:
                    await task.parse(log.size, mode="0:0")
                    await task.run_end_checks(0, check_files=True, post=True)

                await measure_call(delays.ends, end)
        delays.hosts = max(delays.hosts, len(runner.pids))
        await trio.sleep(PAUSE)


async def follow(task: PluginTask, log: WrittenLog, delays: Delays) -> None:
    while True:
        await log.append(b"PROGRESS: 50%\n")
        await measure_call(delays.progress, lambda: task.parse(log.size))
        await trio.sleep(PAUSE)


async def measure(parser: str, fatal: bytes, seconds: float) -> Delays:
    delays = Delays()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with (
            open_plugin_host(PluginSettings(), folders=[PLUGINS]) as runner,
            open_task(runner, folder, "generic") as (task, log),
        ):
            await log.append(b"rendering a little more\n" * LINES)
            await task.parse(log.size)
            with trio.move_on_after(seconds):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(run_faulty, runner, folder, parser, fatal)
                    nursery.start_soon(start_tasks, runner, folder, delays)
                    nursery.start_soon(follow, task, log, delays)
            delays.memory = read_memory(psutil.Process().children(recursive=True))
    return delays


def read_memory(processes: list[psutil.Process]) -> float:
    """Return the memory of processes in MiB, shared memory counted once."""
    total = 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total / 2**20


def format_times(times: list[float]) -> str:
    return f"{statistics.median(times):.1f} | {max(times):.0f}" if times else "- | -"


def main(arguments: list[str]) -> None:
    logging.disable(logging.WARNING)
    seconds = float(arguments[0]) if arguments else 3.0
    sys.stdout.write(
        "| beside | start, median ms | worst | progress | worst | end | worst | starts | hosts | memory |\n"
        "|---|---|---|---|---|---|---|---|---|---|\n"
    )
    for fault, (parser, fatal) in FAULTS.items():
        delays = trio.run(measure, parser, fatal, seconds)
        cells = (format_times(times) for times in (delays.starts, delays.progress, delays.ends))
        sys.stdout.write(
            f"| {fault} | {' | '.join(cells)} | {len(delays.starts)} | {delays.hosts} | {delays.memory:.0f} MiB |\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
