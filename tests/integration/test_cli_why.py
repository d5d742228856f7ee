"""`trio_afrender why` with the store of an agent that has run tasks."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
from pathlib import Path

import pytest
import trio
from support.agent_program import open_agent, open_server, submit
from support.cli import make_gate, pass_gate, run_command
from support.polling import until

from trio_afrender.agent.journal_format import MAGIC, make_record
from trio_afrender.agent.run_history import DiskRunHistory, read_history
from trio_afrender.farm import FarmSettings
from trio_afrender.protocol.messages import (
    Events,
    Reason,
    TaskExec,
    TaskKey,
    TaskStatus,
    TaskUpdate,
)
from trio_afrender.safe_files import open_regular


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the end of a history wait for the disk: an agent's leaves a slow one after a second."""
    monkeypatch.setattr("trio_afrender.agent.run_history.WRITE_DELAY", math.inf)


async def test_ended_stopped_and_running_tasks_are_explained(tmp_path: Path) -> None:
    up = make_gate(tmp_path / "up")
    history = tmp_path / "store" / "trio_afrender" / "render-1" / "history.jsonl"
    async with open_server(tmp_path) as (farm, url):
        farm.change_settings(FarmSettings(errors_retries=0))
        async with open_agent(tmp_path, url) as command:
            ended = submit(farm, "exit 3")
            await farm.wait(ended)
            stopped = submit(farm, f"echo up > {up}; sleep 1000")
            await pass_gate(up)
            code, out, _ = await run_command(
                "why", f"{stopped}.0.0", "--store", tmp_path / "store", home=tmp_path
            )
            assert (code, "running" in out) == (0, True)
            farm.stop_task(TaskKey(stopped, 0, 0), "request of the artist")
            await farm.wait(stopped)
            # Its end waits only a second for the disk.
            await until(lambda: history.exists() and "request of the artist" in history.read_text())
            command.process.send_signal(signal.SIGTERM)
            assert await command.wait() == 0
    code, out, _ = await run_command("why", f"{ended}.0.0", "--store", "store", home=tmp_path)
    assert code == 0
    assert 'task "t0", block "b", job "j"' in out
    assert "FinishedError, exit code 3" in out
    assert "the process ended with exit code 3" in out
    code, out, _ = await run_command(
        "why", f"{stopped}.0.0", "--store", "store", "--name", "render-1", "--json", home=tmp_path
    )
    [facts] = json.loads(out)
    assert (facts["state"], facts["agent"]) == ("FinishedKilled", "render-1")
    assert any("request of the artist" in step["text"] for step in facts["why"])
    assert any(step["event"] == "signal" and step["pids"] for step in facts["why"])
    code, out, err = await run_command("why", "99.0.0", "--store", "store", home=tmp_path)
    assert (code, out) == (1, "")
    assert 'there is no record of "99.0.0"' in err
    assert f"the latest tasks here: {stopped}.0.0, {ended}.0.0" in err


async def test_a_store_without_agents(tmp_path: Path) -> None:
    code, _, err = await run_command("why", "1.0.0", "--store", "store", home=tmp_path)
    assert code == 1
    assert "that folder has no records" in err


@pytest.mark.usefixtures("patient")
async def test_several_runs_are_shown_newest_last_without_control_characters(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "store" / "trio_afrender" / "n1"
    folder.mkdir(parents=True)
    history = DiskRunHistory(folder)
    for number, status in enumerate((TaskStatus.GiveBack, TaskStatus.FinishedSuccess)):
        run, name = f"r{number}", "evil \x1b[31m name"
        task = TaskExec(run=run, job=1, block=0, task=2, name=name)
        why = (Reason(time=5.0, event="asked", text="drain"),)
        history.note(TaskUpdate(run=run, job=1, block=0, task=2, status=status, why=why), task)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(history.run)
        nursery.cancel_scope.cancel()
    running = TaskExec(run="r2", job=1, block=0, task=2)
    (folder / "journal").write_bytes(MAGIC + make_record(Events(tasks=(running,))))
    code, out, _ = await run_command("why", "1.0.2", "--store", "store", home=tmp_path)
    assert code == 0
    assert "\x1b" not in out
    assert out.index("GiveBack") < out.index("FinishedSuccess") < out.index("running")
    _, out, _ = await run_command("why", "r0", "--store", "store", home=tmp_path)
    assert "FinishedSuccess" not in out


async def test_a_journal_that_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "store" / "trio_afrender" / "n1"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "journal")
    with trio.fail_after(30):
        code, _, err = await run_command("why", "1.0.2", "--store", "store", home=tmp_path)
    assert code == 2
    assert f"{folder}: not a regular file; run this as the agent's user" in err


def test_incomplete_and_invalid_lines_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "history.1.jsonl").write_text('{"run": "old", "why": []}\n{"run": "torn", "wh')
    deep = "[" * 9000
    (tmp_path / "history.jsonl").write_text(
        f'[]\nnonsense\n{{"why": 3}}\n{{"why": {deep}\n{{"run": "new", "why": []}}\n'
    )
    assert [facts["run"] for facts in read_history(tmp_path)] == ["old", "new"]


@pytest.mark.usefixtures("patient")
async def test_the_history_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_afrender.agent.run_history.MAX_FILE_SIZE", 2000)
    history = DiskRunHistory(tmp_path)
    for number in range(30):
        update = TaskUpdate(
            run=f"r{number}", job=1, block=0, task=number, status=TaskStatus.FinishedSuccess
        )
        history.note(update, None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(history.run)
            nursery.cancel_scope.cancel()
    assert max(path.stat().st_size for path in tmp_path.glob("*")) < 3000  # noqa: ASYNC240
    runs = [facts["run"] for facts in read_history(tmp_path)]
    assert runs == [f"r{number}" for number in range(30 - len(runs), 30)]


@pytest.mark.usefixtures("patient")
async def test_a_history_that_cannot_be_written_is_only_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "history.jsonl").mkdir()
    history = DiskRunHistory(tmp_path)
    update = TaskUpdate(run="r", job=1, block=0, task=0, status=TaskStatus.FinishedSuccess)
    history.note(update, None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(history.run)
        nursery.cancel_scope.cancel()
    assert "history" in caplog.text
    assert "cannot be written" in caplog.text


@pytest.mark.usefixtures("patient")
async def test_a_history_outlives_a_host_without_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What ended at that moment is what its user will ask for."""
    failures = [errno.EMFILE, errno.ENFILE]

    def fail(path: Path, flags: int) -> int:
        if failures:
            number = failures.pop()
            raise OSError(number, os.strerror(number))
        return open_regular(path, flags)

    monkeypatch.setattr("trio_afrender.agent.run_history.open_regular", fail)
    history = DiskRunHistory(tmp_path)
    update = TaskUpdate(run="r", job=1, block=0, task=0, status=TaskStatus.GiveBack)
    history.note(update, None)
    for _ in range(4):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(history.run)
            nursery.cancel_scope.cancel()
    assert [facts["run"] for facts in read_history(tmp_path)] == ["r"]
    assert caplog.text.count("cannot be written") == 1
