"""Helper processes are stopped by a signal in the middle of a task: it costs seconds, and nothing else."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest
from support.agent_program import open_agent, open_server, submit
from support.cli import make_gate, open_gate, pass_gate
from support.polling import until
from support.process import lives

BUDGET = 12.0
"""Seconds that the whole may take: five until it is noticed, and this test's own processes."""


@pytest.mark.parametrize(
    ("helper", "what"),
    [
        ("supervisor", "new"),
        ("supervisor", "drain"),
        ("task supervisor", "stop"),
        ("task supervisor", "exit"),
        ("both", "exit"),
        ("both", "drain"),
        ("orphaned", "stop"),
        ("orphaned", "exit"),
        ("plugin host", "new"),
        ("plugin host", "exit"),
        ("fork server", "new"),
        ("fork server", "drain"),
    ],
)
async def test_a_helper_that_is_stopped_is_continued(
    tmp_path: Path, helper: str, what: str
) -> None:
    """``orphaned``: the supervisor, which would continue the task supervisor, was killed before."""
    pids, hold = make_gate(tmp_path / "pids"), make_gate(tmp_path / "hold")
    async with (
        open_server(tmp_path) as (farm, url),
        open_agent(tmp_path, url, "--trio_afrender.capacity", "4000") as agent,
    ):
        job = submit(farm, f"echo $$ $PPID > {pids}; read x < {hold}; echo $x")
        leader, task_supervisor = map(int, (await pass_gate(pids)).split())
        supervisor = psutil.Process(task_supervisor).ppid()
        plugin_processes = psutil.Process(agent.process.pid).children(recursive=True)
        fork_server = next(
            each for each in plugin_processes if "forkserver_main" in each.cmdline()[-3]
        )
        stopped = {
            "supervisor": (supervisor,),
            "both": (supervisor, task_supervisor),
            "fork server": (fork_server.pid,),
            "plugin host": tuple(each.pid for each in fork_server.children()),
        }
        assert all(stopped.values())
        if helper == "orphaned":
            os.kill(supervisor, signal.SIGKILL)
            await until(lambda: not lives(supervisor))
        for pid in stopped.get(helper, (task_supervisor,)):
            os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        match what:
            case "stop":
                farm.stop_job(job)
            case "exit":
                await open_gate(hold)
            case "drain":
                agent.process.send_signal(signal.SIGTERM)
                await open_gate(hold)
            case "new":
                assert (await farm.wait(submit(farm, "echo new"))).state == "done"
                await open_gate(hold)
        (task,) = (await farm.wait(job)).tasks
        assert time.monotonic() < began + BUDGET
        assert task.state == ("killed" if what == "stop" else "done")
        assert task.output == ("" if what == "stop" else "go\n")
        assert not lives(leader)
        if what != "drain":
            agent.process.send_signal(signal.SIGTERM)
        assert await agent.wait() == 0
        helpers = [supervisor, task_supervisor, *(pid for pids in stopped.values() for pid in pids)]
        await until(lambda: not any(map(lives, helpers)))
