"""Real process trees for tests: the programs of `tests/programs`, started as a task is."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

from support.process_contract import Shape, StartedTree, watch
from trio_afrender.process.interfaces import Launch, Spawn
from trio_afrender.process.local_spawn import make_spawn
from trio_afrender.process.procfs import read_facts

PROGRAMS: Final = Path(__file__).parents[1] / "programs"
SHAPES: Final[Mapping[Shape, tuple[str, ...]]] = {
    "obeys": ("exit_on_term.py",),
    "ignores": ("ignore_term.py",),
    "leaves": ("leave_orphans.py",),
    "forks": ("exit_on_term.py", "fork"),
}


def make_launch(*argv: str, cwd: str = "/", nice: int = 0) -> Launch:
    """A launch with a random marker."""
    environment = {"PATH": os.environ["PATH"], "AF_TASK_TOKEN": uuid4().hex}
    return Launch(argv=argv, cwd=cwd, environment=environment, nice=nice)


def make_program(name: str, *words: str) -> Launch:
    """A launch of a program of `tests/programs`."""
    return make_launch(sys.executable, "-I", "-S", str(PROGRAMS / name), *words)


def make_shell(script: str) -> Launch:
    return make_launch("/bin/sh", "-c", script)


def lives(pid: int) -> bool:
    facts = read_facts(pid)
    return facts is not None and facts.alive


class RealTrees:
    """Starts each shape with real processes."""

    def __init__(self, *, subreaper: bool = False, spawn: Spawn | None = None) -> None:
        self.spawn = spawn if spawn is not None else make_spawn(subreaper=subreaper)

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
        tree = await self.spawn(launch)
        async with watch(tree, until=until) as started:
            yield started
        assert not any(lives(pid) for pid in (tree.pid, *started.members))
