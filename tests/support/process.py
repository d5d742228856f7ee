"""Real process trees for tests: the programs of `tests/programs`, started as a task is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Final
from uuid import uuid4

import attrs
import psutil

from support.process_contract import GUARD, Shape, StartedTree, watch
from trio_afrender.process.interfaces import Launch, Persistence
from trio_afrender.process.procfs import read_facts
from trio_afrender.process.supervised_tree import SupervisedTree
from trio_afrender.process.supervisor_client import SupervisorClient, open_supervisor
from trio_afrender.tasklog.supervised_log import SupervisedLog

PROGRAMS: Final = Path(__file__).parents[1] / "programs"
SHAPES: Final[Mapping[Shape, tuple[str, ...]]] = {
    "obeys": ("exit_on_term.py",),
    "ignores": ("ignore_term.py",),
    "leaves": ("leave_orphans.py",),
    "forks": ("exit_on_term.py", "fork"),
}


PF_EXITING: Final = 0x4
"""A flag of the kernel's in ``/proc/<pid>/stat``."""
UNPLACED = Persistence(record="", log="", quota=1 << 30, agent_timeout=0, grace=0)
"""In a launch that `RealTrees` has not given a folder yet."""


def make_launch(*argv: str, cwd: str = "/", nice: int = 0) -> Launch:
    """A launch with a random marker, of a tree that ends with its agent."""
    environment = {"PATH": os.environ["PATH"], "AF_TASK_TOKEN": uuid4().hex}
    return Launch(argv=argv, cwd=cwd, environment=environment, nice=nice, persistence=UNPLACED)


def make_program(name: str, *words: str) -> Launch:
    """A launch of a program of `tests/programs`."""
    return make_launch(sys.executable, "-I", "-S", str(PROGRAMS / name), *words)


def make_shell(script: str) -> Launch:
    return make_launch("/bin/sh", "-c", script)


def run_isolated(script: str, *words: str, timeout: float = GUARD) -> str:
    """Run Python code as the supervisor runs, with the root of this package in `sys.argv[1]`.

    Returns what it prints.
    """
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, str(Path(__file__).parents[2]), *words],
        check=False, capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def open_descriptors() -> frozenset[tuple[int, int, int]]:
    """Return the open descriptors of this process, each with device and inode.

    A test that leaves none open compares sets, not counts: a thread that an earlier test has abandoned
    may close one of its own meanwhile.
    """
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # that of this listing is closed by now
            status = os.fstat(number := int(path.name))
            found.add((number, status.st_dev, status.st_ino))
    return frozenset(found)


def find_marked(name: str, value: str) -> list[str]:
    """Return the living processes with that variable, in any session and below any parent."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(name) == value:
                found.append(f"{process.pid} {process.cmdline()}")
    return found


def lives(pid: int) -> bool:
    facts = read_facts(pid)
    return facts is not None and facts.alive


def is_exiting(pid: int) -> bool:
    """Whether it is on its way to be a zombie: it leaves its cgroup first, and is not suspended."""
    try:
        flags = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[6]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return bool(int(flags) & PF_EXITING)


def is_suspended(pid: int) -> bool:
    """Whether it is stopped by a signal, or frozen according to its cgroup; False if it has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        groups = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return False
    if state in "Tt":
        return True
    for line in groups:
        for mount in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup"):
            events = Path(mount, line[3:].lstrip("/"), "cgroup.events")
            if line[:3] == "0::" and events.exists():
                return "frozen 1" in events.read_text()
    return False  # the root has no such file, and a host may have no cgroups of version 2


class RealTrees:
    """Starts each shape with real processes, each tree with a folder of its own in `folder`."""

    def __init__(self, supervisor: SupervisorClient, folder: Path) -> None:
        self._supervisor = supervisor
        self._folder = folder
        self._numbers = count()

    def place(self, launch: Launch) -> Launch:
        """The same launch with a record and a log, if it has none."""
        if launch.persistence.record:
            return launch
        folder = self._folder / f"tree-{next(self._numbers)}"
        folder.mkdir()
        placed = attrs.evolve(
            launch.persistence, record=str(folder / "task"), log=str(folder / "log")
        )
        return attrs.evolve(launch, persistence=placed)

    async def spawn(self, launch: Launch) -> SupervisedTree:
        return await self._supervisor.spawn(self.place(launch))

    @asynccontextmanager
    async def start(self, shape: Shape) -> AsyncIterator[StartedTree]:
        launch = (
            make_program(*SHAPES[shape]) if shape in SHAPES else make_shell("echo hello;exit 3")
        )
        async with self.run(launch, until=b"hello\n" if shape == "exits" else b"up\n") as started:
            yield started

    @asynccontextmanager
    async def run(self, launch: Launch, *, until: bytes = b"up\n") -> AsyncIterator[StartedTree]:
        """Start `launch`, yield once it has printed `until`; at the end no member lives."""
        launch = self.place(launch)
        tree = await self.spawn(launch)
        log = SupervisedLog(Path(launch.persistence.log))
        async with watch(tree, log, until=until) as started:
            yield started
        assert not any(lives(pid) for pid in (tree.pid, *started.members))


@asynccontextmanager
async def open_trees(folder: Path) -> AsyncIterator[RealTrees]:
    """Trees held by a supervisor whose state directory is `folder`."""
    async with open_supervisor(folder) as supervisor:
        yield RealTrees(supervisor, folder)
