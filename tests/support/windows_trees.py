"""Process trees on Windows for tests: job objects, started as a task's are."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Final
from uuid import uuid4

import psutil

from support.process_contract import Shape, StartedTree, watch
from trio_afrender.process.interfaces import Launch, Persistence
from trio_afrender.process.windows.job_tree import JobTree
from trio_afrender.process.windows.job_trees import JobTrees, open_job_trees
from trio_afrender.tasklog.supervised_log import SupervisedLog

__all__ = ("PROGRAM", "WindowsTrees", "open_windows_trees")

PROGRAM: Final = Path(__file__).parents[1] / "programs" / "windows_shape.py"


class WindowsTrees:
    """Starts each shape with real processes, each tree with a folder of its own in `folder`."""

    def __init__(self, holder: JobTrees, folder: Path) -> None:
        self.holder = holder
        self._folder = folder
        self._numbers = count()

    def make_launch(self, *argv: str, cwd: str = "", nice: int = 0, processes: int = 0) -> Launch:
        folder = self._folder / f"tree-{next(self._numbers)}"
        return Launch(
            argv=argv,
            cwd=cwd or str(self._folder),
            environment={**os.environ, "AF_TASK_TOKEN": uuid4().hex},
            nice=nice,
            processes=processes,
            persistence=Persistence(
                record=str(folder / "task"),
                log=str(folder / "log"),
                quota=1 << 30,
                agent_timeout=0,
                grace=0,
            ),
        )

    def make_shape(self, *words: str, processes: int = 0) -> Launch:
        return self.make_launch(
            sys.executable, "-I", "-S", str(PROGRAM), *words, processes=processes
        )

    async def spawn(self, launch: Launch) -> JobTree:
        return await self.holder.spawn(launch)

    @asynccontextmanager
    async def start(self, shape: Shape) -> AsyncIterator[StartedTree]:
        if shape == "exits":
            launch = self.make_launch(
                sys.executable,
                "-I",
                "-S",
                "-c",
                "import sys; sys.stdout.buffer.write(b'hello\\n'); sys.exit(3)",
            )
        else:
            launch = self.make_shape(shape)
        async with self.run(launch, until=b"hello\n" if shape == "exits" else b"up\r\n") as started:
            yield started

    @asynccontextmanager
    async def run(self, launch: Launch, *, until: bytes = b"up\r\n") -> AsyncIterator[StartedTree]:
        """Start `launch`, yield once it has printed `until`; at the end no member lives."""
        tree = await self.spawn(launch)
        log = SupervisedLog(Path(launch.persistence.log))
        async with watch(tree, log, until=until) as started:
            yield started
        assert not any(psutil.pid_exists(pid) for pid in (tree.pid, *started.members))


@asynccontextmanager
async def open_windows_trees(
    folder: Path, titles: Sequence[str] = ()
) -> AsyncIterator[WindowsTrees]:
    async with open_job_trees(titles) as holder:
        yield WindowsTrees(holder, folder)
