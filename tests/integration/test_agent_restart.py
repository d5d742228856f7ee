"""An agent is killed, leaves or is replaced while its tasks run: they continue, nothing is lost."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import trio
from support.agent_program import open_agent, open_server, submit
from support.cli import Command, make_gate, open_gate, pass_gate
from support.polling import until
from support.process import lives

from trio_afrender.farm.farm import Farm, FarmSettings
from trio_afrender.protocol.messages import TaskKey

GUARD = 60.0
LONG_ZOMBIE_TIME = FarmSettings(zombie_time=600.0)
"""The farm gives no task away between two agents, even on a slow machine."""
COUNTING = "i=0; while [ ! -e {go} ]; do i=$((i+1)); echo line $i; sleep 0.01; done; echo last $i; exit {code}"


def counting(go: Path, code: int = 0) -> str:
    return COUNTING.format(go=go, code=code)


async def wait_for_output(farm: Farm, job: int, text: str) -> None:
    """Wait until the task's output so far, requested through the server, contains `text`."""
    with trio.fail_after(GUARD):
        while True:
            with trio.move_on_after(1.0):  # A request to a dying agent gets no answer.
                if text in await farm.ask_output(TaskKey(job, 0, 0, 0)):
                    return
            await trio.sleep(0.02)


def check_lines(output: str) -> None:
    """Check that the output has each line once, in order."""
    lines = [line.split() for line in output.splitlines()]
    numbers = [int(words[1]) for words in lines if words[0] == "line"]
    assert numbers == list(range(1, len(numbers) + 1))
    assert lines[-1] == ["last", str(len(numbers))]


def kill(command: Command) -> None:
    command.process.kill()


def leave(command: Command) -> None:
    command.process.send_signal(signal.SIGUSR1)


@pytest.mark.parametrize("end", [kill, leave])
async def test_a_task_outlives_its_agent(tmp_path: Path, end: Callable[[Command], None]) -> None:
    """Its agent ends twice; the last one reports the outcome, with each line once."""
    go = tmp_path / "go"
    async with open_server(tmp_path, LONG_ZOMBIE_TIME) as (farm, url):
        job = submit(farm, counting(go))
        for text in ("line 5\n", "line 50\n"):
            async with open_agent(tmp_path, url, leaves=True) as command:
                await wait_for_output(farm, job, text)
                end(command)
                await command.wait()
        async with open_agent(tmp_path, url) as command:
            await command.says("1 tasks of an earlier agent continue")
            await wait_for_output(farm, job, "line 60\n")
            go.touch()
            (task,) = (await farm.wait(job)).tasks
            command.process.send_signal(signal.SIGTERM)
            assert await command.wait() == 0
    assert (task.state, task.exit_code, task.attempts) == ("done", 0, 1)
    check_lines(task.output)
    assert "the agent was restarted while the task was running" in task.log
    assert not command.strays()


async def test_a_task_without_an_agent_is_stopped_and_given_back(tmp_path: Path) -> None:
    """It is stopped with its grace; the next agent reports why, and the task runs again."""
    go, up = tmp_path / "go", make_gate(tmp_path / "up")
    command_line = f"trap 'echo saved; exit 0' TERM; echo up > {up}; {counting(go)}"
    config = {"cgru_config": {"trio_afrender": {"timing": {"unattended": 0.2}}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    words = ("--config", "config.json")
    async with open_server(tmp_path, LONG_ZOMBIE_TIME) as (farm, url):
        job = submit(farm, command_line)
        async with open_agent(tmp_path, url, *words, leaves=True) as command:
            await pass_gate(up)
            kill(command)
            await command.wait()
            await until(lambda: not command.strays())
        go.touch()
        async with open_agent(tmp_path, url, *words) as command:
            await pass_gate(up)
            (task,) = (await farm.wait(job)).tasks
            command.process.send_signal(signal.SIGTERM)
            assert await command.wait() == 0
    assert (task.state, task.attempts) == ("done", 2)
    assert "no agent connected in 0.2 s" in task.log


async def test_an_agent_may_leave_on_sigterm(tmp_path: Path) -> None:
    """With ``drain: "leave"``, for a restart by a service manager."""
    go, up = tmp_path / "go", make_gate(tmp_path / "up")
    config = {"cgru_config": {"trio_afrender": {"drain": "leave"}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    words = ("--config", "config.json")
    async with open_server(tmp_path, LONG_ZOMBIE_TIME) as (farm, url):
        job = submit(farm, f"echo up > {up}; {counting(go)}")
        async with open_agent(tmp_path, url, *words, leaves=True) as command:
            await pass_gate(up)
            command.process.send_signal(signal.SIGTERM)
            assert await command.wait() == 0
            assert "running tasks continue under the supervisor" in command.err
        assert farm.renders[0].state != "offline", "the server got no message"
        async with open_agent(tmp_path, url) as command:
            await command.says("1 tasks of an earlier agent continue")
            go.touch()
            (task,) = (await farm.wait(job)).tasks
            command.process.send_signal(signal.SIGTERM)
            assert await command.wait() == 0
    assert (task.state, task.attempts) == ("done", 1)
    check_lines(task.output)


async def test_a_task_whose_supervisors_are_killed_after_a_takeover_leaves_no_process(
    tmp_path: Path,
) -> None:
    """Only the token in their environment identifies its processes then: it must be known still."""
    pids, hold = make_gate(tmp_path / "pids"), make_gate(tmp_path / "hold")
    script = f"setsid sleep 1000 & echo $! $PPID > {pids}; read x < {hold}"
    async with open_server(tmp_path, LONG_ZOMBIE_TIME) as (farm, url):
        job = submit(farm, script)
        async with open_agent(tmp_path, url, leaves=True) as command:
            escaped, task_supervisor = map(int, (await pass_gate(pids)).split())
            kill(command)
            await command.wait()
        async with open_agent(tmp_path, url) as command:
            await command.says("1 tasks of an earlier agent continue")
            await until(lambda: farm.renders[0].state == "online")
            # The supervisor first: it would adopt the tree and kill it.
            os.kill(psutil.Process(task_supervisor).ppid(), signal.SIGKILL)
            os.kill(task_supervisor, signal.SIGKILL)
            # Taken over or not yet: it starts again only when the tree is empty.
            await pass_gate(pids)
            assert not lives(escaped)
            await open_gate(hold)
            (task,) = (await farm.wait(job)).tasks
            command.process.send_signal(signal.SIGTERM)
            assert await command.wait() == 0
    assert task.state == "done"
    assert not command.strays()
