"""Trees on Windows that try to leave something behind: nothing of them lives after their end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest
import trio
from support.process_contract import GUARD
from support.windows_trees import open_windows_trees

from trio_afrender.process.windows.marked_processes import MARKER
from trio_afrender.process.windows.no_takeover import kill_leftovers

pytestmark = pytest.mark.skipif(
    sys.platform != "win32", reason="job objects are Windows' own: make windows-test"
)
PROGRAM = Path(__file__).parents[1] / "programs" / "windows_nasty.py"
RUNNING = 2.0
"""Seconds for a tree that never ends by itself."""
SHAPES = {
    "detached": "detached over\r\n",
    "breakaway": "breakaway over\r\n",
    "adopted": "adopted over\r\n",
    "pipe": "pipe over\r\n",
    "batch": "begun\r\n",
    "respawn": "begun\r\n",
    "crowd": "begun\r\n",
}
"""What each prints when it may be killed."""


def check_nothing_lives(held: Path) -> None:
    # Each of its processes holds a file in there, which cannot be removed meanwhile.
    shutil.rmtree(held)
    time.sleep(1)  # a process that had only begun would make the folder again
    assert not held.exists()


@pytest.mark.parametrize(("shape", "printed"), SHAPES.items(), ids=SHAPES)
async def test_nothing_is_left(shape: str, printed: str, tmp_path: Path) -> None:
    held = tmp_path / "held"
    async with open_windows_trees(tmp_path) as trees:
        words: tuple[str, ...] = (sys.executable, "-I", "-S", str(PROGRAM), shape, str(held))
        if shape == "adopted":
            words = (*words, str(os.getpid()))
        async with trees.run(trees.make_launch(*words), until=printed.encode()) as started:
            if shape in ("batch", "respawn", "crowd"):
                await trio.sleep(RUNNING)
            assert await started.tree.kill_until_empty(GUARD) == ()
            assert await started.tree.members() == ()
            await started.ended.wait()
            await trio.to_thread.run_sync(check_nothing_lives, held)
            text = started.printed.decode()
    if shape == "breakaway":
        # Wine does not let it make a job inside the tree's job that lets members go.
        assert text.count("refused") >= 2


def start_sleeper(environment: dict[str, str]) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"]
    return subprocess.Popen(words, env=environment)


async def test_an_agent_ends_what_tasks_of_a_killed_one_left_outside_of_jobs() -> None:
    prefix = uuid4().hex
    environments = [{**os.environ, MARKER: f"{prefix}-{n}"} for n in range(2)]
    environments.append({**os.environ, MARKER: uuid4().hex})
    processes = [start_sleeper(environment) for environment in environments]
    try:
        found, left = await kill_leftovers(f"{prefix}-", 0, GUARD)
        assert found == tuple(sorted(process.pid for process in processes[:2]))
        assert left == ()
        assert [process.wait(GUARD) != 0 for process in processes[:2]] == [True, True]
        assert processes[2].poll() is None
    finally:
        for process in processes:
            process.kill()
            process.wait()
