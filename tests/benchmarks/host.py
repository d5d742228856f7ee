"""CPU time of measurements: of the host, of a task's process tree, and of both in a running agent.

CPU time instead of elapsed time: other load on the machine changes it little. ``python
tests/benchmarks/host.py [scale]``: scale 1 takes about two minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import trio
from agent import Bench, open_agent, write_row

from trio_afrender.hostinfo.process_usage import make_usage_reader
from trio_afrender.hostinfo.sampler import Sampler
from trio_afrender.protocol.messages import Events, RunRef
from trio_afrender.task.usage_totals import TreeUsage

METERS = ["example", "cpu_temperature"]
FORKS = 9


def read_cpu(pid: int) -> float:
    """Return the CPU seconds of a process, in nanosecond resolution."""
    # The id of the CPU clock of another process, as the kernel computes it from the pid.
    return time.clock_gettime((~pid << 3) | 2)


def mean_cpu(count: int, work: Callable[[], object]) -> float:
    """Return the CPU seconds of one call, of all threads of this process."""
    work()
    begin = time.process_time()
    for _ in range(count):
        work()
    return (time.process_time() - begin) / count


async def measure_sample(count: int) -> tuple[float, float]:
    """Return CPU milliseconds of a host sample as the agent takes it, and in a single thread."""
    sampler = Sampler()
    await sampler.measure()
    begin = time.process_time()
    for _ in range(count):
        await trio.sleep(0.01)  # as in an agent, the threads are idle before the call
        await sampler.measure()
    in_threads = (time.process_time() - begin) / count
    return in_threads * 1e3, mean_cpu(count, sampler.sample) * 1e3


@contextmanager
def open_tree() -> Iterator[list[int]]:
    """Run a tree of ten processes with 8 MiB of memory each; yield their pids."""
    script = (
        "import os, sys, time\n"
        f"for _ in range({FORKS}):\n"
        "    if not os.fork():\n"
        "        block = bytearray(8 << 20)\n"
        "        os.write(1, b'x')\n"
        "        time.sleep(600)\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-I", "-S", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(FORKS)
        children = [child.pid for child in psutil.Process(process.pid).children()]
        try:
            yield [process.pid, *children]
        finally:
            for pid in (*children, process.pid):
                os.kill(pid, 9)


def measure_tree(count: int) -> float:
    """Return CPU microseconds of reading the figures of ten processes."""
    with open_tree() as pids:
        reader, usage = make_usage_reader(), TreeUsage(0.0)
        reading = mean_cpu(count, lambda: usage.advance(reader.read(pids), time.monotonic()))
        return reading * 1e6


async def measure_agent(folder: Path, seconds: float, *, period: int) -> tuple[float, float]:
    """Return percent of a core of agent and plugin hosts, with two meters and one task."""
    config = folder / "config.json"
    settings = {"timing": {"resources_period": period}}
    text = {"cgru_config": {"af_render_resclasses": METERS, "trio_afrender": settings}}
    config.write_text(json.dumps(text))
    async with open_agent(folder, "--config", str(config)) as (bench, agent):
        await bench.link.send(Events(tasks=(bench.make_task("sleep 600", "generic"),)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive_updates, bench)
            await trio.sleep(4)
            hosts = [
                child.pid
                for child in agent.children(recursive=True)
                if "plugins" in " ".join(child.cmdline())
            ]
            before = read_cpu(agent.pid), sum(map(read_cpu, hosts))
            await trio.sleep(seconds)
            after = read_cpu(agent.pid), sum(map(read_cpu, hosts))
            nursery.cancel_scope.cancel()
        await bench.link.send(Events(stops=(RunRef.of(bench.last),)))
        while not await bench.receive_update():
            pass
    own, others = (new - old for new, old in zip(after, before, strict=True))
    return own / seconds * 100, others / seconds * 100


async def receive_updates(bench: Bench) -> None:
    while True:
        await bench.receive_update()


async def main(scale: float) -> None:
    write_row("what", "CPU")
    write_row("---", "---")
    in_threads, in_one = await measure_sample(int(200 * scale))
    write_row("one host sample, each slow source in its thread", f"{in_threads:.2f} ms")
    write_row("the same in one thread", f"{in_one:.2f} ms")
    reading = measure_tree(int(100 * scale))
    write_row(f"reading a tree of {FORKS + 1} processes", f"{reading:.0f} us")
    for period, what in ((86_400, "never"), (5, "every 5 s")):
        with tempfile.TemporaryDirectory() as name:
            own, others = await measure_agent(Path(name), 60 * scale, period=period)
        write_row(
            f"agent with {len(METERS)} meters and a task, measuring {what}",
            f"{own:.3f} % of a core, plugin hosts {others:.3f} %",
        )


if __name__ == "__main__":
    trio.run(main, float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)
