"""What tasks notice of a plugin that misbehaves beside them.

``python tests/benchmarks/plugins.py [seconds]`` prints a Markdown table, a row for each way to
misbehave. For so many seconds from the moment it begins, tasks are opened one after another, each
closed again; meanwhile another task, with 4 MB of log read, has its parser called with a new line
each time, and the calls that end a task. All in milliseconds: the middle one and the worst. The
first row is with nobody misbehaving. `hosts` is how many there were for ordinary tasks and for those
kept apart, `memory` what all processes of plugins take at the end, what they share counted once.
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

from trio_afrender.config import PluginSettings  # noqa: E402 - as above
from trio_afrender.plugins.host.host_pool import HostRunner, open_plugin_host  # noqa: E402 - as above
from trio_afrender.plugins.interfaces import PluginTask  # noqa: E402 - as above
from trio_afrender.tasklog.interfaces import RunLog  # noqa: E402 - as above
from trio_afrender.tasklog.local_log import open_run_log  # noqa: E402 - as above

WAYS = {
    "nobody misbehaves": ("", b""),
    "a regular expression without end": ("bad_regex", b"x" * 64 + b"\n"),
    "a loop without end": ("bad_loop", b"LOOP\n"),
    "sleep without end": ("bad_sleep", b"WAIT\n"),
    "`os._exit`": ("bad_os_exit", b"EXIT\n"),
    "a crash": ("bad_segfault", b"CRASH\n"),
    "2 GB at once": ("bad_gorge", b"GORGE\n"),
    "2 GB bit by bit": ("bad_gorge", b"GROW\n"),
}
PAUSE = 0.01
LINES = 200_000


@attrs.define
class Seen:
    """Milliseconds of each call."""

    starts: list[float] = attrs.field(factory=list)
    progress: list[float] = attrs.field(factory=list)
    ends: list[float] = attrs.field(factory=list)
    hosts: int = 0
    memory: float = 0.0


async def timed(times: list[float], call: Callable[[], Awaitable[object]]) -> None:
    start = trio.current_time()
    await call()
    times.append((trio.current_time() - start) * 1000)


@asynccontextmanager
async def task_of(
    runner: HostRunner, folder: Path, parser: str
) -> AsyncIterator[tuple[PluginTask, RunLog]]:
    async with (
        open_run_log(Path(tempfile.mkdtemp(dir=folder))) as log,
        runner.open_task(make_spec(parser), log) as task,
    ):
        yield task, log


async def misbehave(runner: HostRunner, folder: Path, parser: str, fatal: bytes) -> None:
    """Again and again, in one task after another: as a job would."""
    while parser:
        async with task_of(runner, folder, parser) as (task, log):
            await log.append(fatal)
            await task.parse(log.size)


async def start_tasks(runner: HostRunner, folder: Path, seen: Seen) -> None:
    while True:
        async with open_run_log(Path(tempfile.mkdtemp(dir=folder))) as log:
            began = trio.current_time()
            async with runner.open_task(make_spec("generic"), log) as task:
                seen.starts.append((trio.current_time() - began) * 1000)
                await log.append(b"FRAME: 1\n")
                await task.parse(log.size)

                async def end(task: PluginTask = task, log: RunLog = log) -> None:
                    await task.parse(log.size, mode="0:0")
                    await task.run_end_checks(0, check_files=True, post=True)

                await timed(seen.ends, end)
        seen.hosts = max(seen.hosts, len(runner.pids))
        await trio.sleep(PAUSE)


async def follow(task: PluginTask, log: RunLog, seen: Seen) -> None:
    while True:
        await log.append(b"PROGRESS: 50%\n")
        await timed(seen.progress, lambda: task.parse(log.size))
        await trio.sleep(PAUSE)


async def measure(parser: str, fatal: bytes, seconds: float) -> Seen:
    seen = Seen()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with (
            open_plugin_host(PluginSettings(), folders=[PLUGINS]) as runner,
            task_of(runner, folder, "generic") as (task, log),
        ):
            await log.append(b"rendering a little more\n" * LINES)
            await task.parse(log.size)
            with trio.move_on_after(seconds):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(misbehave, runner, folder, parser, fatal)
                    nursery.start_soon(start_tasks, runner, folder, seen)
                    nursery.start_soon(follow, task, log, seen)
            seen.memory = shared_once(psutil.Process().children(recursive=True))
    return seen


def shared_once(processes: list[psutil.Process]) -> float:
    """MiB that processes take, what they share counted once."""
    total = 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total / 2**20


def cell(times: list[float]) -> str:
    return f"{statistics.median(times):.1f} | {max(times):.0f}" if times else "- | -"


def main(arguments: list[str]) -> None:
    logging.disable(logging.WARNING)
    seconds = float(arguments[0]) if arguments else 3.0
    sys.stdout.write(
        "| beside | start, median ms | worst | progress | worst | end | worst | starts | hosts | memory |\n"
        "|---|---|---|---|---|---|---|---|---|---|\n"
    )
    for way, (parser, fatal) in WAYS.items():
        seen = trio.run(measure, parser, fatal, seconds)
        cells = (cell(times) for times in (seen.starts, seen.progress, seen.ends))
        sys.stdout.write(
            f"| {way} | {' | '.join(cells)} | {len(seen.starts)} | {seen.hosts} | {seen.memory:.0f} MiB |\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
