"""Many tasks: thousands of tiny ones one after another, and up to a thousand quiet ones at once.

The agent is the command in a process of its own; the server is a few lines, as in `agent.py`.
``python tests/benchmarks/many_tasks.py tiny [COUNT]`` says how memory goes while COUNT tiny tasks run
(100,000 take about ten minutes); ``python tests/benchmarks/many_tasks.py quiet [COUNT ...]`` gives memory
and processor time for so many tasks at once that say nothing. What the tasks use themselves is not
counted. Without a word it is 10,000 tiny ones.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import psutil
import trio
from agent import Bench, open_far

from trio_afrender.protocol.messages import Ack, Events, RunRef, Update

TINY, PARTS, AT_ONCE = 100_000, 10, 16
QUIET = (10, 100, 300, 1000)
SETTLE = 5.0
"""Seconds after the last start until the host is quiet."""
SECONDS = 20.0
MIB = 1 << 20


async def measure_tiny(bench: Bench, agent: psutil.Process, count: int) -> None:
    """Run `count` tiny tasks, sixteen at once, and tell of the agent after each tenth."""
    _say("tasks", "tasks a second", "agent", "its plugin processes", "descriptors", "threads")
    _say(*("---",) * 6)
    _tell_tiny(0, 0.0, agent)
    for part in range(PARTS):
        tasks = [bench.make_task("true") for _ in range(count // PARTS)]
        begin = time.monotonic()
        await bench.run(tasks, AT_ONCE)
        rate = len(tasks) / (time.monotonic() - begin)
        _tell_tiny((part + 1) * len(tasks), rate, agent)


def _tell_tiny(count: int, rate: float, agent: psutil.Process) -> None:
    memory, plugins = agent.memory_info().rss / MIB, _plugins(agent) / MIB
    descriptors, threads = str(agent.num_fds()), str(agent.num_threads())
    _say(
        f"{count:,}", f"{rate:.0f}", f"{memory:.1f} MiB", f"{plugins:.1f} MiB", descriptors, threads
    )


async def measure_quiet(bench: Bench, agent: psutil.Process, counts: Iterable[int]) -> None:
    """Have more and more quiet tasks at once."""
    _say("tasks at once", "agent", "a task", "its plugin processes", "of a core", "wake-ups/s")
    _say(*("---",) * 6)
    empty, running = agent.memory_info().rss, 0
    for count in (0, *counts):
        tasks = tuple(bench.make_task("sleep 3600", "generic") for _ in range(count - running))
        for first in range(0, len(tasks), 32):
            await bench.link.send(Events(tasks=tasks[first : first + 32]))
        running = max(running, count)
        await _listen(bench, SETTLE + count / 50)
        cpu, wakes, begin = *_used(agent), time.monotonic()
        await _listen(bench, SECONDS)
        taken = time.monotonic() - begin
        more_cpu, more_wakes = _used(agent)
        memory = agent.memory_info().rss
        each = f"{(memory - empty) / running / 1024:.0f} KiB" if running else ""
        percent, woken = (more_cpu - cpu) / taken * 100, (more_wakes - wakes) / taken
        plugins = f"{_plugins(agent) / MIB:.1f} MiB"
        _say(
            str(count), f"{memory / MIB:.1f} MiB", each, plugins, f"{percent:.1f} %", f"{woken:.0f}"
        )


async def _listen(bench: Bench, seconds: float) -> None:
    """Be a server that only acknowledges."""
    with trio.move_on_after(seconds):
        while True:
            message = await bench.link.receive()
            if isinstance(message, Update):
                with trio.CancelScope(shield=True):  # half a frame would end the link
                    await bench.link.send(Ack(seq=message.seq))


async def _stop(bench: Bench, before: int) -> None:
    """Stop all that was started after the first `before`, and see how long it takes."""
    numbers = range(before + 1, bench.count + 1)
    refs = [RunRef(run=f"r{number}", job=2, block=0, task=number) for number in numbers]
    begin, left = time.monotonic(), 0
    for first in range(0, len(refs), 100):
        await bench.link.send(Events(stops=tuple(refs[first : first + 100])))
    while left < len(refs):
        left += await bench.hear()
    sys.stdout.write(f"\nall stopped and told of in {time.monotonic() - begin:.1f} s\n")


def _plugins(agent: psutil.Process) -> int:
    """Bytes that processes for plugins hold alone: they share most of what they have."""
    found = 0
    for process in agent.children(recursive=True):
        try:
            if "trio_afrender.plugins" in " ".join(process.cmdline()):
                found += process.memory_full_info().uss
        except psutil.Error:
            continue
    return found


def _used(agent: psutil.Process) -> tuple[float, int]:
    """Seconds of processor time, and how often its loop has waited, so far; threads come and go."""
    times = agent.cpu_times()
    status = Path(f"/proc/{agent.pid}/status").read_text()
    wakes = int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])
    return times.user + times.system, wakes


def _say(*columns: str) -> None:
    sys.stdout.write(f"| {' | '.join(columns)} |\n")
    sys.stdout.flush()


async def main(kind: str, counts: list[int]) -> None:
    with tempfile.TemporaryDirectory() as name:
        async with open_far(Path(name)) as (bench, agent):
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
