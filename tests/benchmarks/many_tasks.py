"""Many tasks: thousands of tiny ones one after another, and up to 1000 quiet ones at once.

The agent is the command in a process; the server is a few lines, as in `agent.py`.
``python tests/benchmarks/many_tasks.py tiny [COUNT]`` prints the memory while COUNT tiny tasks run
(100,000 take about ten minutes); ``python tests/benchmarks/many_tasks.py quiet [COUNT ...]`` prints
memory and processor time with COUNT running tasks that print nothing. The tasks' own use is not
measured. Without arguments: ``tiny 10000``.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import psutil
import trio
from agent import Bench, open_agent

from trio_afrender.protocol.messages import Ack, Events, RunRef, Update

TINY, PARTS, AT_ONCE = 100_000, 10, 16
QUIET = (10, 100, 300, 1000)
SETTLE_TIME = 5.0
"""Seconds from the last start to the measurement."""
SECONDS = 20.0
"""Of a measurement."""
MIB = 1 << 20


async def measure_tiny(bench: Bench, agent: psutil.Process, count: int) -> None:
    """Run `count` tiny tasks, 16 at once; print the agent's figures after each tenth."""
    _write_row(
        "tasks", "tasks per second", "agent", "its plugin processes", "descriptors", "threads"
    )
    _write_row(*("---",) * 6)
    _write_tiny(0, 0.0, agent)
    for part in range(PARTS):
        tasks = [bench.make_task("true") for _ in range(count // PARTS)]
        begin = time.monotonic()
        await bench.run(tasks, AT_ONCE)
        rate = len(tasks) / (time.monotonic() - begin)
        _write_tiny((part + 1) * len(tasks), rate, agent)


def _write_tiny(count: int, rate: float, agent: psutil.Process) -> None:
    memory, plugins = agent.memory_info().rss / MIB, _read_plugins_memory(agent) / MIB
    descriptors, threads = str(agent.num_fds()), str(agent.num_threads())
    _write_row(
        f"{count:,}", f"{rate:.0f}", f"{memory:.1f} MiB", f"{plugins:.1f} MiB", descriptors, threads
    )


async def measure_quiet(bench: Bench, agent: psutil.Process, counts: Iterable[int]) -> None:
    """Measure the agent with growing numbers of quiet tasks."""
    _write_row(
        "tasks at once", "agent", "per task", "its plugin processes", "of a core", "wake-ups/s"
    )
    _write_row(*("---",) * 6)
    empty, running = agent.memory_info().rss, 0
    for count in (0, *counts):
        tasks = tuple(bench.make_task("sleep 3600", "generic") for _ in range(count - running))
        for first in range(0, len(tasks), 32):
            await bench.link.send(Events(tasks=tasks[first : first + 32]))
        running = max(running, count)
        await _acknowledge(bench, SETTLE_TIME + count / 50)
        cpu, wakes, begin = *_read_usage(agent), time.monotonic()
        await _acknowledge(bench, SECONDS)
        elapsed = time.monotonic() - begin
        more_cpu, more_wakes = _read_usage(agent)
        memory = agent.memory_info().rss
        each = f"{(memory - empty) / running / 1024:.0f} KiB" if running else ""
        percent, woken = (more_cpu - cpu) / elapsed * 100, (more_wakes - wakes) / elapsed
        plugins = f"{_read_plugins_memory(agent) / MIB:.1f} MiB"
        _write_row(
            str(count), f"{memory / MIB:.1f} MiB", each, plugins, f"{percent:.1f} %", f"{woken:.0f}"
        )


async def _acknowledge(bench: Bench, seconds: float) -> None:
    """Acknowledge updates for some time."""
    with trio.move_on_after(seconds):
        while True:
            message = await bench.link.receive()
            if isinstance(message, Update):
                with trio.CancelScope(shield=True):  # a part of a frame would break the link
                    await bench.link.send(Ack(seq=message.seq))


async def _stop(bench: Bench, before: int) -> None:
    """Stop all tasks but the first `before`; print the time until all outcomes are received."""
    numbers = range(before + 1, bench.count + 1)
    refs = [RunRef(run=f"r{number}", job=2, block=0, task=number) for number in numbers]
    begin, ended = time.monotonic(), 0
    for first in range(0, len(refs), 100):
        await bench.link.send(Events(stops=tuple(refs[first : first + 100])))
    while ended < len(refs):
        ended += await bench.receive_update()
    sys.stdout.write(f"\nall stopped, outcomes received in {time.monotonic() - begin:.1f} s\n")


def _read_plugins_memory(agent: psutil.Process) -> int:
    """Return the unshared memory of plugin processes in bytes: they share most of theirs."""
    found = 0
    for process in agent.children(recursive=True):
        try:
            if "trio_afrender.plugins" in " ".join(process.cmdline()):
                found += process.memory_full_info().uss
        except psutil.Error:
            continue
    return found


def _read_usage(agent: psutil.Process) -> tuple[float, int]:
    """Return the processor seconds so far, and the wake-ups of the main thread."""
    times = agent.cpu_times()
    status = Path(f"/proc/{agent.pid}/status").read_text()
    wakes = int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])
    return times.user + times.system, wakes


def _write_row(*columns: str) -> None:
    sys.stdout.write(f"| {' | '.join(columns)} |\n")
    sys.stdout.flush()


async def main(kind: str, counts: list[int]) -> None:
    with tempfile.TemporaryDirectory() as name:
        async with open_agent(Path(name)) as (bench, agent):
            if kind == "tiny":
                await measure_tiny(bench, agent, counts[0] if counts else TINY)
            else:
                before = bench.count
                await measure_quiet(bench, agent, counts or QUIET)
                await _stop(bench, before)


if __name__ == "__main__":
    words = sys.argv[1:] or ["tiny", str(TINY // 10)]
    if words[0] not in ("tiny", "quiet"):
        sys.exit(f"no such benchmark: {words[0]}; tiny or quiet")
    trio.run(main, words[0], [int(each) for each in words[1:]])
