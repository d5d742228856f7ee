"""Attacks on a real agent: each helper is killed or stopped, each file of a run is exchanged, once.

`make attack` runs every combination; the suite runs a few of them. After each: one outcome for the
task, no process is left, the agent lives and runs the next task, and all of it takes seconds.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import product
from pathlib import Path

import psutil
import pytest
from support.agent_program import open_agent, open_server, submit
from support.cli import make_gate, open_gate, pass_gate
from support.polling import until
from support.process import lives

BUDGET = 20.0
"""Seconds for the attack, the outcome and the next task; a host under load is slow."""
GROWTH = 64 * 1024 * 1024
"""Bytes that the agent may have grown by."""


def choose(cases: list[tuple[str, ...]], every: int) -> list[tuple[str, ...]]:
    """All cases for `make attack`, else some that have each value once in a while."""
    return cases if os.environ.get("ATTACKS") == "all" else cases[::every]


# -- helpers ----------------------------------------------------------------------------------------

HELPERS = ("supervisor", "task supervisor", "fork server", "plugin host", "all")
STEPS = ("running", "stopping", "ending", "draining", "starting another")
SIGNALS = ("SIGKILL", "SIGSTOP")


def find_helpers(agent: int, task_supervisor: int) -> dict[str, list[int]]:
    found = {
        "supervisor": [psutil.Process(task_supervisor).ppid()],
        "task supervisor": [task_supervisor],
        "fork server": [],
        "plugin host": [],
    }
    for child in psutil.Process(agent).children():
        if "forkserver_main" in " ".join(child.cmdline()):
            found["fork server"].append(child.pid)
            found["plugin host"] += [host.pid for host in child.children()]
    return {**found, "all": [pid for pids in found.values() for pid in pids]}


def send(pid: int, number: signal.Signals) -> None:
    """Signal a process that may have ended by what was done before."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


@pytest.mark.parametrize(
    ("helper", "step", "how"), choose(list(product(HELPERS, STEPS, SIGNALS)), 9)
)
async def test_a_helper_that_is_attacked_costs_seconds(
    tmp_path: Path, helper: str, step: str, how: str
) -> None:
    pids, hold = make_gate(tmp_path / "pids"), make_gate(tmp_path / "hold")
    # Of a task that runs again, the later attempts neither tell their pids nor wait.
    again = tmp_path / "again"
    script = (
        f"test -e {again} && exit 0; : > {again}; setsid sleep 1000 & echo $$ $! $PPID > {pids};"
        f" read x < {hold}"
    )
    async with (
        open_server(tmp_path) as (farm, url),
        open_agent(tmp_path, url, "--trio_afrender.capacity", "4000") as agent,
    ):
        job = submit(farm, script)
        leader, escaped, task_supervisor = map(int, (await pass_gate(pids)).split())
        targets = find_helpers(agent.process.pid, task_supervisor)[helper]
        assert targets
        began = time.monotonic()
        for pid in targets:
            send(pid, signal.Signals[how])
        match step:
            case "stopping":
                farm.stop_job(job)
            case "ending":
                hold.unlink()
                send(leader, signal.SIGTERM)
            case "draining":
                agent.process.send_signal(signal.SIGTERM)
            case "starting another":
                assert (await farm.wait(submit(farm, "true"))).state == "done"
        if step in ("running", "starting another"):
            farm.stop_job(job)
        if step == "draining":
            send(leader, signal.SIGTERM)
            assert await agent.wait() == 0
        else:
            (task,) = (await farm.wait(job)).tasks
            assert task.state in ("killed", "done"), (task.state, task.why)
            assert (await farm.wait(submit(farm, "true"))).state == "done"
            agent.process.send_signal(signal.SIGTERM)
            assert await agent.wait() == 0
        assert time.monotonic() - began < BUDGET
        await until(lambda: not any(map(lives, (leader, escaped, *targets))))
        assert "internal error" not in agent.err


# -- files ------------------------------------------------------------------------------------------


def _make_fifo(path: Path) -> None:
    os.mkfifo(path)


def _link_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _link_file(path: Path) -> None:
    (path.parent / "victim").write_text("untouched")
    path.symlink_to(path.parent / "victim")


def _make_folder(path: Path) -> None:
    path.mkdir()


def _make_huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 10**12)


def _make_nothing(path: Path) -> None:
    pass


PATHS = (
    "stop.json",
    "stop.json.part",
    "task.end",
    "task.sock",
    "cards.json",
    "log",
    "log/00000000000000000000.log",
    "view",
    "work",
    "files",
    "files/thumb.jpg",
)
KINDS: dict[str, Callable[[Path], None]] = {
    "fifo": _make_fifo,
    "device": _link_device,
    "link": _link_file,
    "folder": _make_folder,
    "huge": _make_huge,
    "nothing": _make_nothing,
}


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@pytest.mark.parametrize(("path", "kind"), choose(list(product(PATHS, KINDS)), 9))
async def test_a_file_of_a_run_that_is_exchanged_costs_its_own_run_at_most(
    tmp_path: Path, path: str, kind: str
) -> None:
    up, hold = make_gate(tmp_path / "up"), make_gate(tmp_path / "hold")
    script = f"echo first line; echo up > {up}; read x < {hold}; echo last line"
    async with open_server(tmp_path) as (farm, url), open_agent(tmp_path, url) as agent:
        job = submit(farm, script)
        await pass_gate(up)
        runs = tmp_path / "store" / "trio_afrender" / "render-1" / "runs"
        (folder,) = runs.iterdir()
        await until(lambda: (folder / "log" / "00000000000000000000.log").exists())
        place = folder / path
        _remove(place)
        if place.parent.is_dir():
            KINDS[kind](place)
        before = psutil.Process(agent.process.pid).memory_info().rss
        began = time.monotonic()
        await open_gate(hold)
        (task,) = (await farm.wait(job)).tasks
        assert time.monotonic() - began < BUDGET
        assert psutil.Process(agent.process.pid).memory_info().rss < before + GROWTH
        assert task.state == "done", task.why
        assert (await farm.wait(submit(farm, "echo next"))).tasks[0].output == "next\n"
        if kind == "link" and path != "files/thumb.jpg":
            with suppress(FileNotFoundError):  # the folder of the run is removed meanwhile
                assert (place.parent / "victim").read_text() == "untouched"
        agent.process.send_signal(signal.SIGTERM)
        assert await agent.wait() == 0
