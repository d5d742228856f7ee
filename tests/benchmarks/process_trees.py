"""How soon a tree is proven empty after its last process has ended: ``python tests/benchmarks/process_trees.py [rounds]``.

Trees are held by parents, as the agent's are, and ended as it ends them. When the last process of a tree
ended is its own last word where it ends by itself (so its exit counts against us), else the moment at
which a process beside us saw it through a pidfd.
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
LAST_WORD = "import os, time; os.write(1, b'last %d\\n' % time.monotonic_ns()); os._exit(0)"
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
    """A process that tells when others have ended."""

    process: trio.Process

    async def watch(self, pids: list[int]) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.send_all(f"{' '.join(map(str, pids))}\n".encode())
        await self._hear()

    async def last(self) -> int:
        """When the last of them had ended."""
        return int(await self._hear())

    async def _hear(self) -> bytes:
        assert self.process.stdout is not None
        data = b""
        while not data.endswith(b"\n"):
            data += await self.process.stdout.receive_some()
        return data


@attrs.define
class Tree:
    child: SupervisedTree
    log: SupervisedLog

    async def words(self) -> list[bytes]:
        """What it has printed, once it has said that it is up or its last."""
        while b"up\n" not in (text := self.log.reader().read(0, 65536).data):
            if text.startswith(b"last "):
                break
            await self.log.wait_beyond(self.log.size)
        return text.split()

    async def kill(self) -> tuple[int, int]:
        """End it as the agent does; when that was asked for, and when it was proven."""
        asked = time.monotonic_ns()
        await self.child.signal_tree(TreeSignal.KILL)
        assert await self.child.kill_until_empty(60) == ()
        return asked, time.monotonic_ns()


@asynccontextmanager
async def open_tree(supervisor: SupervisorClient, store: Path, *argv: str) -> AsyncIterator[Tree]:
    place = store / uuid4().hex
    place.mkdir()
    persistence = Persistence(
        record=str(place / "task"), log=str(place / "log"), quota=1 << 30, agent_timeout=60, grace=0
    )
    environment = {"PATH": "/usr/bin:/bin", "AF_TASK_TOKEN": uuid4().hex}
    launch = Launch(argv=argv, cwd="/", environment=environment, persistence=persistence)
    child = await supervisor.spawn(launch)
    log = SupervisedLog(place / "log")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(child.output.pump, log)
        yield Tree(child, log)
        await child.reap()


async def measure_leader(supervisor: SupervisorClient, store: Path) -> tuple[float, float]:
    """Seconds from its last word, twice: nobody asks for anything."""
    async with open_tree(supervisor, store, *PYTHON, "-c", LAST_WORD) as tree:
        await tree.child.wait_empty()
        known = time.monotonic_ns()
        taken = (known - int((await tree.words())[1])) / 1e9
        return taken, taken


async def measure_left(
    supervisor: SupervisorClient, store: Path, watcher: Watcher, how: str
) -> tuple[float, float]:
    """Seconds from the end of what a leader left behind, and from asking for that end."""
    async with open_tree(supervisor, store, *PYTHON, str(LEAVE), how) as tree:
        await tree.child.exited()
        await watcher.watch([int((await tree.words())[1])])
        asked, known = await tree.kill()
        return (known - await watcher.last()) / 1e9, (known - asked) / 1e9


async def measure_crowd(
    supervisor: SupervisorClient, store: Path, watcher: Watcher
) -> tuple[float, float]:
    async with open_tree(supervisor, store, *PYTHON, "-c", CROWD) as tree:
        await tree.words()
        await watcher.watch(list(await tree.child.members()))
        asked, known = await tree.kill()
        return (known - await watcher.last()) / 1e9, (known - asked) / 1e9


def say(what: str, taken: list[tuple[float, float]]) -> None:
    ends, orders = zip(*taken, strict=True)
    cells = [
        f"{pick(each) * 1e3:.2f}" for each in (ends, orders) for pick in (statistics.median, max)
    ]
    sys.stdout.write(f"| {what} | {' | '.join(cells)} |\n")
    sys.stdout.flush()


async def main(rounds: int) -> None:
    sys.stdout.write(
        "| tree | proven after its end, median ms | worst | after KILL was asked for | worst |\n"
    )
    sys.stdout.write("| --- | --- | --- | --- | --- |\n")
    process = await trio.lowlevel.open_process(
        [*PYTHON, "-c", WATCHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    watcher = Watcher(process)
    with tempfile.TemporaryDirectory() as name:
        store = Path(name)
        async with open_supervisor(store) as supervisor:
            say("a leader alone", [await measure_leader(supervisor, store) for _ in range(rounds)])
            for text, how in (("setsid", "setsid"), ("a double fork", "daemon")):
                taken = [await measure_left(supervisor, store, watcher, how) for _ in range(rounds)]
                say(f"left behind: {text}", taken)
            few = max(3, rounds // 20)
            taken = [await measure_crowd(supervisor, store, watcher) for _ in range(few)]
            say(f"1000 children, {few} times", taken)
    process.kill()
    await process.wait()


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 100)
