"""A host without descriptors or processes: tasks are given back or wait, none is an error, the agent lives."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from support.loopback_farm import block, open_agent, open_loopback_farm

from trio_afrender.farm.settings import FarmSettings

TASKS = 50
MANY = 10_000
"""More lines than tasks are started, however often each one is given back."""
FAST_FARM = FarmSettings(errors_retries=0, pause=0.05, pause_limit=0.5)
"""A farm that hands a task out again soon after it was given back."""
FEW_FILES = ("sh", "-c", 'ulimit -n 64; exec "$@"', "sh")
FEW_PROCESSES = ("sh", "-c", 'ulimit -u 220 2>/dev/null || ulimit -p 220; exec "$@"', "sh")
USER = 50_000 + os.getpid() % 10_000
"""The kernel counts all processes of a user: another one than in a test that runs beside this one."""
# A user without privileges, but for reading: the interpreter may be in a folder of root.
AS_USER = (
    "setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups",
    "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search",
)  # fmt: skip


def as_user(folder: Path) -> tuple[str, ...]:
    """Return words that run a command as a user whose processes the kernel limits; skips without."""
    if os.geteuid():
        pytest.skip("the processes of this user are counted together: only root can take another")
    words = (*AS_USER, "true")
    if shutil.which("setpriv") is None or subprocess.run(words, check=False).returncode:
        pytest.skip("setpriv cannot take another user here")
    os.chown(folder, USER, USER)
    return AS_USER


@pytest.mark.parametrize("lack", ["descriptors", "processes"])
async def test_an_agent_gets_more_tasks_than_it_has_room_for(tmp_path: Path, lack: str) -> None:
    """What cannot be started is given back, however often, and runs once others have ended."""
    home = tmp_path / "home"
    home.mkdir()
    wrapper = FEW_FILES if lack == "descriptors" else (*as_user(home), *FEW_PROCESSES)
    words = ("--trio_afrender.max_tasks", str(TASKS), "--trio_afrender.capacity", "100000")
    os.mkfifo(gate := home / "gate")
    gate.chmod(0o644)
    # One process each: the kernel may refuse a second one to the task itself.
    command = f"echo done; read x < {gate}"
    async with open_loopback_farm(tmp_path, settings=FAST_FARM) as loopback:
        async with open_agent(home, loopback.server, *words, wrapper=wrapper) as agent:
            with gate.open("r+b", buffering=0) as lines:  # open for both: a task waits for a line
                submitted = loopback.submit(block(*[command] * TASKS, capacity=1))
                await agent.says("no new tasks: ")
                lines.write(b"\n" * MANY)
                job = await loopback.farm.wait(submitted)
            assert {task.output for task in job.tasks} == {"done\n"}
            assert {task.state for task in job.tasks} == {"done"}
            assert "no new tasks: " in agent.err
            assert "no longer true: " in agent.err
            after = await loopback.run(block("echo after"))
            assert after.tasks[0].output == "after\n"
            agent.process.send_signal(signal.SIGTERM)
            assert await agent.wait() == 0
    assert "internal error" not in agent.err
    assert "Traceback" not in agent.err
