"""What looking costs: at the host, at a task's tree, and all of it in an agent that goes on.

CPU time, not wall time: a busy machine does not change it much. ``python tests/benchmarks/host.py
[scale]``: scale 1 takes about two minutes.
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
from agent import Bench, open_far, say

from trio_afrender.hostinfo.process_usage import make_usage_reader
from trio_afrender.hostinfo.sampler import Sampler
from trio_afrender.process.process_snapshot import ProcessTable
from trio_afrender.protocol.messages import Events, RunRef
from trio_afrender.task.usage_totals import TreeUsage

METERS = ["example", "cpu_temperature"]
FORKS = 9


def cpu_of(pid: int) -> float:
    """CPU seconds of a process, to the nanosecond: Linux's clock of another process."""
    return time.clock_gettime((~pid << 3) | 2)


def mean_cpu(count: int, work: Callable[[], object]) -> float:
    """CPU seconds of all threads of this process for one call."""
    work()
    begin = time.process_time()
    for _ in range(count):
        work()
    return (time.process_time() - begin) / count


async def measure_sample(count: int) -> tuple[float, float]:
    """CPU milliseconds of a host sample as the agent takes it, and of one in a single thread."""
    sampler = Sampler()
    await sampler.measure()
    begin = time.process_time()
    for _ in range(count):
        await trio.sleep(0.01)  # as in an agent, the threads have gone to rest
        await sampler.measure()
    apart = (time.process_time() - begin) / count
    return apart * 1e3, mean_cpu(count, sampler.sample) * 1e3


@contextmanager
def open_tree() -> Iterator[list[int]]:
    """A tree of ten processes with some memory each."""
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


def measure_tree(count: int) -> tuple[float, float, int]:
    """CPU microseconds for the figures of ten processes, for a look at all of the host, how many."""
    with open_tree() as pids:
        reader, ledger = make_usage_reader(), TreeUsage(0.0)
        reading = mean_cpu(count, lambda: ledger.advance(reader.read(pids), time.monotonic()))
        table = ProcessTable(trio.CapacityLimiter(1))
        looking = mean_cpu(count, lambda: setattr(table, "_facts", table._renew()))
        return reading * 1e6, looking * 1e6, len(table._facts)


async def measure_agent(folder: Path, seconds: float, *, period: int) -> tuple[float, float]:
    """Percent of a core of the agent, and of its plugin hosts, with two meters and one task."""
    config = folder / "config.json"
    ours = {"timing": {"resources_period": period}}
    text = {"cgru_config": {"af_render_resclasses": METERS, "trio_afrender": ours}}
    config.write_text(json.dumps(text))
    async with open_far(folder, "--config", str(config)) as (bench, agent):
        await bench.link.send(Events(tasks=(bench.make_task("sleep 600", "generic"),)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_hearing, bench)
            await trio.sleep(4)
            helpers = [each.pid for each in agent.children(recursive=True)]
            helpers = [
                pid for pid in helpers if "plugins" in " ".join(psutil.Process(pid).cmdline())
            ]
            before = cpu_of(agent.pid), sum(map(cpu_of, helpers))
            await trio.sleep(seconds)
            after = cpu_of(agent.pid), sum(map(cpu_of, helpers))
            nursery.cancel_scope.cancel()
        await bench.link.send(Events(stops=(RunRef.of(bench.last),)))
        while not await bench.hear():
            pass
    own, others = (new - old for new, old in zip(after, before, strict=True))
    return own / seconds * 100, others / seconds * 100


async def keep_hearing(bench: Bench) -> None:
    while True:
        await bench.hear()


async def main(scale: float) -> None:
    say("what", "CPU")
    say("---", "---")
    apart, together = await measure_sample(int(200 * scale))
    say("one host sample, each slow source in its thread", f"{apart:.2f} ms")
    say("the same in one thread", f"{together:.2f} ms")
    reading, looking, count = measure_tree(int(100 * scale))
    say(f"figures of a tree of {FORKS + 1} processes", f"{reading:.0f} us")
    say(f"a look at all {count} processes, one for all trees", f"{looking:.0f} us")
    for period, what in ((86_400, "never"), (5, "every 5 s")):
        with tempfile.TemporaryDirectory() as name:
            own, others = await measure_agent(Path(name), 60 * scale, period=period)
        say(
            f"agent with {len(METERS)} meters and a task, measuring {what}",
            f"{own:.3f} % of a core, plugin hosts {others:.3f} %",
        )


if __name__ == "__main__":
    trio.run(main, float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)
