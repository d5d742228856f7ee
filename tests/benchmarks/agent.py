"""The whole agent against bare loops of the same run: starts, tiny tasks, output, quiet times.

The agent is the real one: its plugin host, its store on disk, its websocket over loopback. The
server is a few lines here, so that a farm's own cost is not counted.
``python tests/benchmarks/agent.py [scale]``: scale 1 takes about two minutes.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import psutil
import trio

from trio_afrender.agent.agent import run_agent
from trio_afrender.agent.agent_dependencies import AgentDependencies, open_agent_dependencies
from trio_afrender.config import Config, Token
from trio_afrender.process.interfaces import Launch, ProcessTree
from trio_afrender.protocol.messages import (
    Ack,
    Events,
    Register,
    Registered,
    RunRef,
    TaskExec,
    Update,
)
from trio_afrender.transport.interfaces import ServerLink
from trio_afrender.transport.tokens import TokenTable, make_token
from trio_afrender.transport.websocket_server import serve_websocket

SHELL = ["/bin/sh", "-c"]
PRINTER = (
    f"{sys.executable} -c 'import sys\n"
    'block = b"".join('
    'b"Fra:1 Mem:123.45M (Peak 150.00M) | Time:00:01.23 | Mem:0.00M | Sample %d/4096\\n" % n'
    " for n in range(4096))\n"
    "[sys.stdout.buffer.write(block) for _ in range(int(sys.argv[1]) * 1000000 // len(block))]'"
)


@attrs.define(eq=False)
class Bench:
    """A server's view of one agent."""

    link: ServerLink
    started: list[float] = attrs.field(factory=list)
    """Times at which processes had been started."""
    count: int = 0
    last: TaskExec = TaskExec(run="", job=0, block=0, task=0)  # noqa: RUF009 - frozen

    def make_task(self, command: str, parser: str = "") -> TaskExec:
        self.count += 1
        self.last = TaskExec(
            run=f"r{self.count}",
            job=2,
            block=0,
            task=self.count,
            parser=parser,
            command_block=command,
            frames_num=1,
        )
        return self.last

    async def run(self, tasks: list[TaskExec], at_once: int) -> None:
        """Run tasks, `at_once` at a time, each acknowledged and closed."""
        waiting = list(reversed(tasks))
        running = 0
        while waiting or running:
            fresh = []
            while waiting and running < at_once:
                fresh.append(waiting.pop())
                running += 1
            if fresh:
                await self.link.send(Events(tasks=tuple(fresh)))
            running -= await self.hear()

    async def hear(self) -> int:
        message = await self.link.receive()
        if not isinstance(message, Update):
            return 0
        await self.link.send(Ack(seq=message.seq))
        over = [RunRef.of(task) for task in message.tasks if task.status.terminal]
        if over:
            await self.link.send(Events(closes=tuple(over)))
        return len(over)


@asynccontextmanager
async def open_near(folder: Path) -> AsyncIterator[Bench]:
    """An agent in this process, so that the moment of a process's start can be seen."""
    started: list[float] = []

    @asynccontextmanager
    async def watched(config: Config) -> AsyncIterator[AgentDependencies]:
        async with open_agent_dependencies(config) as outside:

            async def spawn(launch: Launch) -> ProcessTree:
                child = await outside.spawn(launch)
                started.append(time.perf_counter())
                return child

            yield attrs.evolve(outside, spawn=spawn)

    async with open_server() as server, trio.open_nursery() as nursery:
        config = Config(name="bench", server=server.url, token=server.token, store=folder)
        await nursery.start(partial(run_agent, config, outside=watched(config)))
        yield await server.welcome(started)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_far(folder: Path, *more: str) -> AsyncIterator[tuple[Bench, psutil.Process]]:
    """An agent as users have it: the command, in a process of its own."""
    async with open_server() as server:
        token_file = folder / "token"
        token_file.write_text(server.token.secret)
        token_file.chmod(0o600)
        command = [sys.executable, "-m", "trio_afrender", "agent", "--server", server.url]
        command += [
            "--name",
            "bench",
            "--token-file",
            str(token_file),
            "--store",
            str(folder),
            *more,
        ]
        process = await trio.lowlevel.open_process(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            yield await server.welcome([]), psutil.Process(process.pid)
        finally:
            process.terminate()
            with trio.CancelScope(shield=True):
                await process.wait()


@attrs.frozen
class Server:
    url: str
    token: Token
    links: trio.MemoryReceiveChannel[ServerLink]

    async def welcome(self, started: list[float]) -> Bench:
        """Take the agent in and warm it up."""
        link = await self.links.receive()
        first = await link.receive()
        if not isinstance(first, Register):
            raise RuntimeError(f"the agent did not register: {first}")  # noqa: TRY004 - no argument
        await link.send(Registered(id=1))
        bench = Bench(link, started)
        await bench.run([bench.make_task("true") for _ in range(3)], 1)
        return bench


@asynccontextmanager
async def open_server() -> AsyncIterator[Server]:
    token = make_token()
    found, links = trio.open_memory_channel[ServerLink](1)

    async def hand_over(link: ServerLink) -> None:
        await found.send(link)
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        bound = await nursery.start(
            partial(serve_websocket, hand_over, tokens=TokenTable.single(token))
        )
        yield Server(bound.url, token, links)
        nursery.cancel_scope.cancel()


async def measure_starts(bench: Bench, count: int) -> list[float]:
    """Seconds from handing a message to the link until the process is there."""
    taken = []
    for _ in range(count):
        task = bench.make_task("true", parser="generic")
        bench.started.clear()
        begin = time.perf_counter()
        await bench.run([task], 1)
        taken.append(bench.started[0] - begin)
    return taken


async def bare_starts(count: int) -> list[float]:
    taken = []
    for _ in range(count):
        begin = time.perf_counter()
        process = await trio.lowlevel.open_process([*SHELL, "true"], stdin=subprocess.DEVNULL)
        taken.append(time.perf_counter() - begin)
        await process.wait()
    return taken


async def bare_tiny(count: int) -> float:
    """A bare spawn loop: merged pipe read to its end, process reaped, one after another."""
    begin = time.perf_counter()
    for _ in range(count):
        process = await trio.lowlevel.open_process(
            [*SHELL, "true"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert process.stdout is not None
        while await process.stdout.receive_some():
            pass
        await process.wait()
        await process.stdout.aclose()
    return count / (time.perf_counter() - begin)


async def measure_tiny(bench: Bench, count: int, at_once: int) -> float:
    tasks = [bench.make_task("true") for _ in range(count)]
    begin = time.perf_counter()
    await bench.run(tasks, at_once)
    return count / (time.perf_counter() - begin)


async def bare_output(megabytes: int) -> float:
    """Read the printer's pipe and forget what it printed; seconds from its first byte."""
    process = await trio.lowlevel.open_process(
        [*SHELL, f"{PRINTER} {megabytes}"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    size, begin = len(await process.stdout.receive_some()), time.perf_counter()
    while data := await process.stdout.receive_some():
        size += len(data)
    taken = time.perf_counter() - begin
    await process.wait()
    await process.stdout.aclose()
    return size / taken / 1e6


async def measure_output(
    bench: Bench, agent: psutil.Process, megabytes: int, parser: str
) -> tuple[float, float, float]:
    """MB/s from message to close; MiB by which the agent's peak rose; the plugin hosts' peak."""
    before = agent.memory_info().rss
    clear_peak(agent.pid)
    begin = time.perf_counter()
    await bench.run([bench.make_task(f"{PRINTER} {megabytes}", parser)], 1)
    taken = time.perf_counter() - begin
    return megabytes / taken, read_peak(agent.pid) - before / 2**20, peak_of_plugins(agent)


def peak_of_plugins(agent: psutil.Process) -> float:
    """MiB at most of all plugin hosts, and of the template they share what it alone has."""
    (template,) = (
        c for c in agent.children() if "trio_afrender.plugins.host.forkserver_main" in c.cmdline()
    )
    hosts = sum(read_peak(host.pid) for host in template.children())
    return hosts + template.memory_full_info().uss / 2**20


def clear_peak(pid: int) -> None:
    """Have the kernel start the peak of resident memory anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def read_peak(pid: int) -> float:
    """The peak of resident memory, MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


async def measure_quiet(
    bench: Bench, agent: psutil.Process, seconds: float
) -> tuple[float, float, float]:
    """Percent of a core, wake-ups a second (all threads), MiB resident."""
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            while True:
                await bench.hear()

        nursery.start_soon(read)
        await trio.sleep(3)
        cpu, wakes = _used(agent)
        await trio.sleep(seconds)
        more_cpu, more_wakes = _used(agent)
        nursery.cancel_scope.cancel()
    resident = agent.memory_info().rss / 2**20
    return (more_cpu - cpu) / seconds * 100, (more_wakes - wakes) / seconds, resident


def _used(process: psutil.Process) -> tuple[float, int]:
    times = process.cpu_times()
    wakes = 0
    for thread in Path(f"/proc/{process.pid}/task").iterdir():
        status = (thread / "status").read_text()
        wakes += int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])
    return times.user + times.system, wakes


def say(what: str, ours: str, bare: str = "", ratio: str = "") -> None:
    sys.stdout.write(f"| {what} | {ours} | {bare} | {ratio} |\n")
    sys.stdout.flush()


async def main(scale: float) -> None:
    say("what", "ours", "bare loop, same run", "ratio")
    say("---", "---", "---", "---")
    count, size = int(300 * scale), int(200 * scale)
    with tempfile.TemporaryDirectory() as name:
        async with open_near(Path(name)) as bench:
            starts = await measure_starts(bench, count)
        bare = await bare_starts(count)
        ours_ms, bare_ms = statistics.median(starts) * 1e3, statistics.median(bare) * 1e3
        say(
            "message to process started, median (best)",
            f"{ours_ms:.2f} ms ({min(starts) * 1e3:.2f})",
            f"{bare_ms:.2f} ms",
            f"{ours_ms / bare_ms:.1f} x",
        )
    with tempfile.TemporaryDirectory() as name:
        async with open_far(Path(name)) as (bench, agent):
            await main_idle(bench, agent, 20 * scale)
            for at_once in (1, 4, 16):
                speed = max([await bare_tiny(count) for _ in range(3)])
                tiny = max([await measure_tiny(bench, count, at_once) for _ in range(3)])
                say(
                    f"tiny tasks a second, {at_once} at once, best of 3",
                    f"{tiny:.0f}/s",
                    f"{speed:.0f}/s",
                    f"{tiny / speed:.2f}",
                )
            flow = await bare_output(size)
            for parser in ("", "generic", "blender"):
                fast, grown, host = await measure_output(bench, agent, size, parser)
                say(
                    f"{size} MB of output, parser {parser or 'none'}",
                    f"{fast:.0f} MB/s, agent +{grown:.1f} MiB, plugin host at most {host:.0f} MiB",
                    f"{flow:.0f} MB/s",
                    f"{fast / flow:.2f}",
                )


async def main_idle(bench: Bench, agent: psutil.Process, seconds: float) -> None:
    """The agent before and while it runs one task that says nothing."""
    for what in ("idle agent", "one quiet task"):
        cpu, wakes, resident = await measure_quiet(bench, agent, seconds)
        say(what, f"{cpu:.2f} % of a core, {wakes:.1f} wake-ups/s, {resident:.0f} MiB")
        if what == "idle agent":
            await bench.link.send(Events(tasks=(bench.make_task("sleep 600", "generic"),)))
    await bench.link.send(Events(stops=(RunRef.of(bench.last),)))
    while not await bench.hear():
        pass


if __name__ == "__main__":
    trio.run(main, float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)
