"""Store folders that are full or belong to another user: no task fails, and gaps are reported."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from support.cli import run_command
from support.loopback_farm import Gated, block, open_agent, open_loopback_farm, reasons, stored

from trio_afrender.farm.settings import FarmSettings
from trio_afrender.protocol.messages import TaskStatus

LINES = 700_000
SMALL_FILES = ("sh", "-c", 'ulimit -f 256; exec "$@"', "sh")
"""Limits each file to 256 blocks (128 or 256 KiB): a full disk that needs no privileges."""


def small_disk(folder: Path, options: str) -> list[str]:
    """Words that run a command with a small disk at `folder`; skips the test where that fails."""
    folder.mkdir()
    mount = f"mount -t tmpfs -o {options} tmpfs {folder}"
    wrapper = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if shutil.which("unshare") is None or subprocess.run([*wrapper, mount], check=False).returncode:
        pytest.skip("this system does not allow users to mount a small disk")
    return [*wrapper, f'{mount} && exec "$@"', "sh"]


@pytest.mark.parametrize("kind", ["small files", "small disk"])
async def test_a_task_on_a_full_disk_runs_on_and_the_gap_is_reported(
    tmp_path: Path, kind: str
) -> None:
    """Head and tail are kept. A task beside it and one after it have all their output."""
    wrapper = SMALL_FILES if kind == "small files" else small_disk(tmp_path / "store", "size=1m")
    gate = Gated.make(tmp_path)
    async with open_loopback_farm(tmp_path) as loopback:
        async with open_agent(tmp_path, loopback.server, wrapper=wrapper) as agent:
            loud = loopback.submit(
                block(
                    gate.command(before=f"seq 1 {LINES}", after="echo PROGRESS: 99%; exit 3"),
                    parser="generic",
                )
            )
            await gate.is_up()
            beside = await loopback.run(block("echo PROGRESS: 50%; echo beside; exit 4"))
            [quiet] = beside.tasks
            assert (quiet.state, quiet.exit_code, quiet.attempts) == ("error", 4, 1)
            assert stored(tmp_path / "farm", quiet) == b"PROGRESS: 50%\nbeside\n"
            await gate.release()
            [task] = (await loopback.farm.wait(loud)).tasks
            assert (task.state, task.exit_code, task.attempts) == ("error", 3, 1)
            lines = stored(tmp_path / "farm", task).decode().splitlines()
            assert lines[:2] == ["1", "2"]
            assert lines[-2:] == [str(LINES), "PROGRESS: 99%"]
            [mark] = [line for line in lines if line.startswith("---")]
            assert f" {LINES + 1 - (len(lines) - 1)} lines of output left out here " in mark
            assert "bytes of output could not be stored" in reasons(task)
            after = await loopback.run(block("seq 1 1000"))
            assert after.tasks[0].output.splitlines() == [str(n + 1) for n in range(1000)]
            agent.process.send_signal(signal.SIGTERM)
            assert await agent.wait() == 0
    warnings = [line for line in agent.err.splitlines() if "cannot store output in" in line]
    logs = [line.partition("cannot store output in ")[2] for line in warnings]
    assert 1 <= len(logs) == len(set(logs)), "once for each run, however much it prints"
    assert ("No space left on device" in agent.err) is (kind == "small disk")
    assert ("File too large" in agent.err) is (kind == "small files")


async def test_a_disk_without_room_for_a_folder_gives_the_task_back(tmp_path: Path) -> None:
    """No process is started, the task is no error, and the host takes no other until there is room."""
    wrapper = small_disk(tmp_path / "store", "nr_inodes=100")
    async with open_loopback_farm(tmp_path) as loopback:
        async with open_agent(tmp_path, loopback.server, wrapper=wrapper) as agent:
            await agent.says("registered as render")
            # The disk is visible to the agent alone, and to who looks through its process.
            store = Path(f"/proc/{agent.process.pid}/root{tmp_path}/store")
            fillers = [store / f"filler{number}" for number in range(100)]
            with suppress(OSError):
                for filler in fillers:
                    filler.touch()
            job = loopback.submit(block(f"touch {tmp_path}/started"))
            await agent.says("no new tasks: ")
            # The agent stores the outcome after that line, and then sends it.
            seen = 0
            while loopback.farm.view(job).tasks[0].status != TaskStatus.GiveBack:
                seen = await loopback.farm.changed(seen)
            assert not (tmp_path / "started").exists()
            [task] = loopback.farm.view(job).tasks
            assert (task.status, task.attempts) == (TaskStatus.GiveBack, 1)
            for filler in fillers:
                filler.unlink(missing_ok=True)
            [task] = (await loopback.farm.wait(job)).tasks
            assert (task.state, task.attempts) == ("done", 2)
            assert (tmp_path / "started").exists()
            assert "No space left on device" in task.log
            agent.process.send_signal(signal.SIGTERM)
            assert await agent.wait() == 0


async def test_another_host_runs_a_task_that_a_full_one_gave_back(tmp_path: Path) -> None:
    async with open_loopback_farm(tmp_path, settings=FarmSettings(pause=30)) as loopback:
        await loopback.agent("render-1")
        runs = tmp_path / "store" / "trio_afrender" / "render-1" / "runs"
        runs.rmdir()
        runs.write_text("in the way")
        job = loopback.submit(block("echo rendered"))
        seen = 0
        while loopback.farm.view(job).tasks[0].status != TaskStatus.GiveBack:
            seen = await loopback.farm.changed(seen)
        await loopback.agent("render-2")
        [task] = (await loopback.farm.wait(job)).tasks
        assert (task.state, task.render, task.output) == ("done", "render-2", "rendered\n")
        assert task.attempts == 2
        assert f"refused: store folder {runs}" in task.log
        await loopback.check_alive()


def words_for(name: str) -> tuple[str, ...]:
    return ("--server", "wss://127.0.0.1:1", "--name", name, "--store", "store")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
async def test_a_store_of_another_user_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "store" / "trio_afrender" / "render-1"
    (store / "runs").mkdir(parents=True)
    (store / "runs" / "theirs").touch()
    os.chown(store, 12345, -1)
    code, out, err = await run_command(*words_for("render-1"), home=tmp_path)
    assert (code, out) == (2, "")
    assert err == (
        f"trio_afrender: store folder {store}: belongs to user 12345; choose another --store\n"
    )
    assert [path.name for path in store.rglob("*")] == ["runs", "theirs"]


@pytest.mark.parametrize("what", ["a file", "a link"])
async def test_a_store_that_is_not_a_folder_is_refused_and_left_as_it_is(
    tmp_path: Path, what: str
) -> None:
    store = tmp_path / "store" / "trio_afrender" / "render-1"
    elsewhere = tmp_path / "elsewhere"
    store.parent.mkdir(parents=True)
    if what == "a file":
        store.write_text("precious")
    else:
        store.symlink_to(elsewhere)
    code, out, err = await run_command(*words_for("render-1"), home=tmp_path)
    assert (code, out) == (2, "")
    assert err == (
        f"trio_afrender: store folder {store}: is a link or a file; "
        "remove it or choose another --store\n"
    )
    if what == "a file":
        assert store.read_text() == "precious"
    else:
        assert not elsewhere.exists(), "not even made through the link"


async def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("precious")
    words = (*words_for("render-1"), "--store", "store/deeper")
    code, _, err = await run_command(*words, home=tmp_path)
    problem = "is not a folder; remove it or choose another --store"
    assert (code, err) == (2, f"trio_afrender: store folder {tmp_path}/store: {problem}\n")
    assert (tmp_path / "store").read_text() == "precious"
