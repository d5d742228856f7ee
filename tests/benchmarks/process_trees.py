"""Delay from the end of a tree's last process to the proof that the tree is empty.

``python tests/benchmarks/process_trees.py [rounds]``. Trees are held by task supervisors and ended
as the agent ends them. The end of the last process is the time that it prints before it exits (so
its exit is part of the delay), or else the time at which another process sees its end by a pidfd.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import attrs
import trio

from trio_afrender.process.interfaces import Launch, Persistence, TreeSignal
from trio_afrender.process.supervised_tree import SupervisedTree
from trio_afrender.process.supervisor_client import SupervisorClient, open_supervisor
from trio_afrender.tasklog.supervised_log import SupervisedLog

PYTHON = (sys.executable, "-I", "-S")
LEAVE = Path(__file__).resolve().parents[1] / "programs" / "leave_orphans.py"
PRINT_TIME = "import os, time; os.write(1, b'last %d\\n' % time.monotonic_ns()); os._exit(0)"
CROWD = """
import os, signal
for _ in range(1000):
    if os.fork() == 0:
        signal.alarm(100)
        signal.pause()
os.write(1, b"up\\n")
signal.pause()
"""
WATCHER = """
import os, select, sys, time
for line in sys.stdin:
    poll = select.poll()
    handles = set()
    for pid in line.split():
        handles.add(handle := os.pidfd_open(int(pid)))
        poll.register(handle, select.POLLIN)
    print("ready", flush=True)
    while handles:
        ready = [handle for handle, _ in poll.poll()]
        now = time.monotonic_ns()
        for handle in ready:
            poll.unregister(handle)
            handles.remove(handle)
            os.close(handle)
    print(now, flush=True)
"""


@attrs.frozen
class Watcher:
    """A process that reports when other processes have ended."""

    process: trio.Process

    async def watch(self, pids: list[int]) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.send_all(f"{' '.join(map(str, pids))}\n".encode())
        await self._read_line()

    async def wait_last(self) -> int:
        """Return when the last of them ended, in nanoseconds of the monotonic clock."""
        return int(await self._read_line())

    async def _read_line(self) -> bytes:
        assert self.process.stdout is not None
        data = b""
        while not data.endswith(b"\n"):
            data += await self.process.stdout.receive_some()
        return data


@attrs.define
class Tree:
    process: SupervisedTree
    log: SupervisedLog

    async def read_words(self) -> list[bytes]:
        """Return its output once it has printed that it is up, or its last line."""
        while b"up\n" not in (text := self.log.reader().read(0, 65536).data):
            if text.startswith(b"last "):
                break
            await self.log.wait_beyond(self.log.size)
        return text.split()

    async def kill(self) -> tuple[int, int]:
        """Kill the tree as the agent does; return the times of the request and of the proof."""
        requested = time.monotonic_ns()
        await self.process.signal_tree(TreeSignal.KILL)
        assert await self.process.kill_until_empty(60) == ()
        return requested, time.monotonic_ns()


@asynccontextmanager
async def open_tree(supervisor: SupervisorClient, store: Path, *argv: str) -> AsyncIterator[Tree]:
    run_folder = store / uuid4().hex
    run_folder.mkdir()
    persistence = Persistence(
        record=str(run_folder / "task"),
        log=str(run_folder / "log"),
        quota=1 << 30,
        agent_timeout=60,
        grace=0,
    )
    environment = {"PATH": "/usr/bin:/bin", "AF_TASK_TOKEN": uuid4().hex}
    launch = Launch(argv=argv, cwd="/", environment=environment, persistence=persistence)
    process = await supervisor.spawn(launch)
    log = SupervisedLog(run_folder / "log")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.output.pump, log)
        yield Tree(process, log)
        await process.reap()


async def measure_leader(supervisor: SupervisorClient, store: Path) -> tuple[float, float]:
    """Return the seconds from the leader's last line, twice: there is no request."""
    async with open_tree(supervisor, store, *PYTHON, "-c", PRINT_TIME) as tree:
        await tree.process.wait_empty()
        known = time.monotonic_ns()
        delay = (known - int((await tree.read_words())[1])) / 1e9
        return delay, delay


async def measure_left(
    supervisor: SupervisorClient, store: Path, watcher: Watcher, how: str
) -> tuple[float, float]:
    """Return the seconds from the end of a process that the leader left, and from the request."""
    async with open_tree(supervisor, store, *PYTHON, str(LEAVE), how) as tree:
        await tree.process.exited()
        await watcher.watch([int((await tree.read_words())[1])])
        requested, known = await tree.kill()
        return (known - await watcher.wait_last()) / 1e9, (known - requested) / 1e9


async def measure_crowd(
    supervisor: SupervisorClient, store: Path, watcher: Watcher
) -> tuple[float, float]:
    async with open_tree(supervisor, store, *PYTHON, "-c", CROWD) as tree:
        await tree.read_words()
        await watcher.watch(list(await tree.process.members()))
        requested, known = await tree.kill()
        return (known - await watcher.wait_last()) / 1e9, (known - requested) / 1e9


def write_row(what: str, delays: list[tuple[float, float]]) -> None:
    after_ends, after_requests = zip(*delays, strict=True)
    cells = [
        f"{pick(each) * 1e3:.2f}"
        for each in (after_ends, after_requests)
        for pick in (statistics.median, max)
    ]
    sys.stdout.write(f"| {what} | {' | '.join(cells)} |\n")
    sys.stdout.flush()


async def main(rounds: int) -> None:
    sys.stdout.write(
        "| tree | empty after its end, median ms | worst | after the request to kill | worst |\n"
    )
    sys.stdout.write("| --- | --- | --- | --- | --- |\n")
    process = await trio.lowlevel.open_process(
        [*PYTHON, "-c", WATCHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    watcher = Watcher(process)
    with tempfile.TemporaryDirectory() as name:
        store = Path(name)
        async with open_supervisor(store) as supervisor:
            write_row(
                "a leader alone", [await measure_leader(supervisor, store) for _ in range(rounds)]
            )
            for text, how in (("setsid", "setsid"), ("a double fork", "daemon")):
                delays = [
                    await measure_left(supervisor, store, watcher, how) for _ in range(rounds)
                ]
                write_row(f"left by a leader: {text}", delays)
            few = max(3, rounds // 20)
            delays = [await measure_crowd(supervisor, store, watcher) for _ in range(few)]
            write_row(f"1000 children, {few} times", delays)
    process.kill()
    await process.wait()


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 100)
