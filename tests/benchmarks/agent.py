"""The whole agent beside bare loops of the same run: starts, tiny tasks, output, idle load.

The agent is complete: plugin host, store on disk, websocket over loopback. The server is a few
lines here, so that the load of a farm is not measured.
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
    """The server's end of one agent."""

    link: ServerLink
    started: list[float] = attrs.field(factory=list)
    """Times at which processes were started."""
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
            batch = []
            while waiting and running < at_once:
                batch.append(waiting.pop())
                running += 1
            if batch:
                await self.link.send(Events(tasks=tuple(batch)))
            running -= await self.receive_update()

    async def receive_update(self) -> int:
        """Receive a message, acknowledge it, close the runs that ended; return their number."""
        message = await self.link.receive()
        if not isinstance(message, Update):
            return 0
        await self.link.send(Ack(seq=message.seq))
        ended = [RunRef.of(task) for task in message.tasks if task.status.terminal]
        if ended:
            await self.link.send(Events(closes=tuple(ended)))
        return len(ended)


@asynccontextmanager
async def open_agent_in_process(folder: Path) -> AsyncIterator[Bench]:
    """Run an agent in this process, so that the time of a process's start is known."""
    started: list[float] = []

    @asynccontextmanager
    async def open_watched(config: Config) -> AsyncIterator[AgentDependencies]:
        async with open_agent_dependencies(config) as dependencies:

            async def spawn(launch: Launch) -> ProcessTree:
                child = await dependencies.spawn(launch)
                started.append(time.perf_counter())
                return child

            yield attrs.evolve(dependencies, spawn=spawn)

    async with open_server() as server, trio.open_nursery() as nursery:
        config = Config(name="bench", server=server.url, token=server.token, store=folder)
        await nursery.start(partial(run_agent, config, outside=open_watched(config)))
        yield await server.accept_agent(started)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_agent(folder: Path, *more: str) -> AsyncIterator[tuple[Bench, psutil.Process]]:
    """Run the command `agent` in a process, as users do."""
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
            yield await server.accept_agent([]), psutil.Process(process.pid)
        finally:
            process.terminate()
            with trio.CancelScope(shield=True):
                await process.wait()


@attrs.frozen
class Server:
    url: str
    token: Token
    links: trio.MemoryReceiveChannel[ServerLink]

    async def accept_agent(self, started: list[float]) -> Bench:
        """Accept the agent's registration and warm it up by three tasks."""
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
    send, links = trio.open_memory_channel[ServerLink](1)

    async def hand_over(link: ServerLink) -> None:
        await send.send(link)
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        bound = await nursery.start(
            partial(serve_websocket, hand_over, tokens=TokenTable.single(token))
        )
        yield Server(bound.url, token, links)
        nursery.cancel_scope.cancel()


async def measure_starts(bench: Bench, count: int) -> list[float]:
    """Return the seconds from sending the message to the start of the process, for each task."""
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
    """Spawn one process at a time, its merged pipe read to the end; return the rate per second."""
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
    """Read and drop the printer's output; return MB/s, measured from its first byte."""
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
    """Return MB/s from message to close; MiB of the agent's growth and of the plugin hosts' peak."""
    before = agent.memory_info().rss
    clear_peak(agent.pid)
    begin = time.perf_counter()
    await bench.run([bench.make_task(f"{PRINTER} {megabytes}", parser)], 1)
    taken = time.perf_counter() - begin
    return megabytes / taken, read_peak(agent.pid) - before / 2**20, read_plugins_peak(agent)


def read_plugins_peak(agent: psutil.Process) -> float:
    """Return the sum of the plugin hosts' peaks and of the fork server's unshared memory, MiB."""
    (fork_server,) = (
        c for c in agent.children() if "trio_afrender.plugins.host.forkserver_main" in c.cmdline()
    )
    hosts = sum(read_peak(host.pid) for host in fork_server.children())
    return hosts + fork_server.memory_full_info().uss / 2**20


def clear_peak(pid: int) -> None:
    """Reset the kernel's peak of resident memory of a process."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def read_peak(pid: int) -> float:
    """Return the peak of resident memory in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


async def measure_quiet(
    bench: Bench, agent: psutil.Process, seconds: float
) -> tuple[float, float, float]:
    """Return percent of a core, wake-ups per second (of all threads), resident MiB."""
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            while True:
                await bench.receive_update()

        nursery.start_soon(read)
        await trio.sleep(3)
        cpu, wakes = _read_usage(agent)
        await trio.sleep(seconds)
        more_cpu, more_wakes = _read_usage(agent)
        nursery.cancel_scope.cancel()
    resident = agent.memory_info().rss / 2**20
    return (more_cpu - cpu) / seconds * 100, (more_wakes - wakes) / seconds, resident


def _read_usage(process: psutil.Process) -> tuple[float, int]:
    times = process.cpu_times()
    wakes = 0
    for thread in Path(f"/proc/{process.pid}/task").iterdir():
        status = (thread / "status").read_text()
        wakes += int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])
    return times.user + times.system, wakes


def write_row(what: str, ours: str, bare: str = "", ratio: str = "") -> None:
    sys.stdout.write(f"| {what} | {ours} | {bare} | {ratio} |\n")
    sys.stdout.flush()


async def main(scale: float) -> None:
    write_row("what", "agent", "bare loop, same run", "ratio")
    write_row("---", "---", "---", "---")
    count, size = int(300 * scale), int(200 * scale)
    with tempfile.TemporaryDirectory() as name:
        async with open_agent_in_process(Path(name)) as bench:
            starts = await measure_starts(bench, count)
        bare = await bare_starts(count)
        ours_ms, bare_ms = statistics.median(starts) * 1e3, statistics.median(bare) * 1e3
        write_row(
            "message to process started, median (best)",
            f"{ours_ms:.2f} ms ({min(starts) * 1e3:.2f})",
            f"{bare_ms:.2f} ms",
            f"{ours_ms / bare_ms:.1f} x",
        )
    with tempfile.TemporaryDirectory() as name:
        async with open_agent(Path(name)) as (bench, agent):
            await main_idle(bench, agent, 20 * scale)
            for at_once in (1, 4, 16):
                bare_rate = max([await bare_tiny(count) for _ in range(3)])
                rate = max([await measure_tiny(bench, count, at_once) for _ in range(3)])
                write_row(
                    f"tiny tasks per second, {at_once} at once, best of 3",
                    f"{rate:.0f}/s",
                    f"{bare_rate:.0f}/s",
                    f"{rate / bare_rate:.2f}",
                )
            bare_speed = await bare_output(size)
            for parser in ("", "generic", "blender"):
                speed, growth, host = await measure_output(bench, agent, size, parser)
                write_row(
                    f"{size} MB of output, parser {parser or 'none'}",
                    f"{speed:.0f} MB/s, agent +{growth:.1f} MiB, plugin host at most {host:.0f} MiB",
                    f"{bare_speed:.0f} MB/s",
                    f"{speed / bare_speed:.2f}",
                )


async def main_idle(bench: Bench, agent: psutil.Process, seconds: float) -> None:
    """Measure the agent idle, and with one task that prints nothing."""
    for what in ("idle agent", "one quiet task"):
        cpu, wakes, resident = await measure_quiet(bench, agent, seconds)
        write_row(what, f"{cpu:.2f} % of a core, {wakes:.1f} wake-ups/s, {resident:.0f} MiB")
        if what == "idle agent":
            await bench.link.send(Events(tasks=(bench.make_task("sleep 600", "generic"),)))
    await bench.link.send(Events(stops=(RunRef.of(bench.last),)))
    while not await bench.receive_update():
        pass


if __name__ == "__main__":
    trio.run(main, float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)
