"""The records of a farm in their file: restarts, a kill, faults of the file."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import trio
from support.farm import ADMIN, FakeLink, FarmHarness, listed, make_update, one_job
from support.records import find_differences, show_records

from trio_afrender.errors import StoreError, StoreInUse
from trio_afrender.farm import Farm, FarmSettings, open_farm
from trio_afrender.farm.database import DamagedRecords, Database, RecordRows
from trio_afrender.farm.job_edits import edit_job, operate_job
from trio_afrender.farm.record_batches import RecordBatches
from trio_afrender.farm.record_rows import make_rows, restore
from trio_afrender.farm.scheduler import make_exec
from trio_afrender.farm.state import FarmState
from trio_afrender.farm.task_bits import state_text, task_bits
from trio_afrender.protocol.messages import Events, Registered, TaskKey, TaskStatus

TESTS = Path(__file__).parent.parent


async def run_until_killed(folder: Path) -> tuple[int, int, list[str]]:
    """Run a farm in a process, kill it, and return the ids of its jobs and of its running runs."""
    command = [sys.executable, str(TESTS / "programs" / "farm_until_killed.py"), str(folder)]
    environment = {**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"}
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    printed = b""
    async with process.stdout:
        while not printed.endswith(b"\n"):
            part = await process.stdout.receive_some()
            assert part, "the farm has ended by itself"
            printed += part
        process.send_signal(signal.SIGKILL)
        await process.wait()
    job, over, *runs = printed.decode().split()
    return int(job), int(over), runs


def words(farm: Farm, job: int, block: int) -> list[str]:
    return [state_text(task_bits(task)) for task in farm.state.jobs[job].blocks[block].tasks]


async def test_a_killed_farm_continues(tmp_path: Path) -> None:
    job, over, runs = await run_until_killed(tmp_path / "farm")
    async with open_farm(tmp_path / "farm") as farm:
        state = farm.state
        assert farm.jobs == (job, over), "the deleted job is gone"
        assert not (tmp_path / "farm" / str(over + 1)).exists()
        first = state.jobs[job]
        assert (first.spec.annotation, first.spec.priority, first.paused) == ("note", 7, True)
        assert (first.spec.blocks[1].capacity, first.created > 0) == (5, True)
        lines = [text for _, text in first.node_log.entries]
        assert "boss@w1: jobs pause: job@joe: " in lines
        assert sorted(words(farm, job, 0)) == [" DON", " RDY RER", " WRC", " WRC"]
        assert words(farm, job, 1) == [" RDY", " RDY", " DON SKP"]
        (done,) = (each for each in farm.view(job).tasks if each.state == "done")
        assert (done.output, done.attempts, done.render) == ("out", 1, "a")
        assert "a line\n" in done.log
        assert [path.read_bytes() for path in done.files] == [b"image"]
        assert farm.view(over).state == "done"
        assert farm.view(over).tasks[0].output == "of ann"
        assert state.users["ann"].needs.max_running_tasks == 3
        assert state.pool.sick_errors_count == 5
        render = state.renders["a"]
        assert (render.effective.priority, str(render.states.nimby)) == (77, "NIMBY")
        assert sorted(render.running) == sorted(runs)
        assert farm.submit(one_job()) == over + 2, "no id is used again"


async def test_a_render_comes_back_after_a_kill(tmp_path: Path) -> None:
    job, over, runs = await run_until_killed(tmp_path)
    async with trio.open_nursery() as nursery:
        async with open_farm(tmp_path) as farm:
            kept, lost = (farm.state.runs[run] for run in runs)
            link = FakeLink()
            nursery.start_soon(farm.serve_link, link)
            running = make_exec(kept, 0, 0.0)
            answer = await link.register(max_tasks=4, running=(running,))
            assert isinstance(answer, Registered)
            assert (answer.resume, answer.stop) == ((kept.id,), ())
            assert state_text(task_bits(kept.task)) == " RUN"
            assert state_text(task_bits(lost.task)) == " RDY"
            assert (lost.task.errors, lost.task.why[-1].text) == (
                0,
                'render "a" came back without it',
            )
            await link.update(make_update(running, output="resumed"))
            assert [ref.run for ref in (await link.expect(Events)).closes] == [kept.id]
            link.cut()
        async with open_farm(tmp_path) as farm:
            assert farm.jobs == (job, over)
            counts = {"done": 2, "ready": 2, "waiting": 2, "skipped": 1}
            assert farm.view(job).counts == counts
            assert farm.view(job).tasks[kept.key.task].output == "resumed"


async def test_a_render_does_not_come_back_after_a_kill(tmp_path: Path) -> None:
    job, _, _ = await run_until_killed(tmp_path)
    async with open_farm(tmp_path, settings=FarmSettings(zombie_time=0.2)) as farm:
        seen = 0
        while farm.state.renders["a"].running:
            seen = await farm.changed(seen)
        assert farm.view(job).counts == {"done": 1, "ready": 3, "waiting": 2, "skipped": 1}
        assert sorted(task.errors for task in farm.state.jobs[job].blocks[0].tasks) == [0, 0, 0, 1]


@pytest.mark.parametrize("outcomes", [1, 40, 150])
async def test_no_acknowledged_outcome_is_lost_by_a_kill(tmp_path: Path, outcomes: int) -> None:
    program = str(TESTS / "programs" / "farm_under_load.py")
    environment = {**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"}
    process = await trio.lowlevel.open_process(
        [sys.executable, program, str(tmp_path)], stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    printed = b""
    async with process.stdout:
        while printed.count(b"\n") < outcomes:
            part = await process.stdout.receive_some()
            assert part, "the farm has ended by itself"
            printed += part
        process.send_signal(signal.SIGKILL)
        await process.wait()
        async for part in process.stdout:
            printed += part
    closed = [int(line) for line in printed.splitlines(keepends=True) if line.endswith(b"\n")]
    assert len(closed) == len(set(closed)) >= outcomes
    async with open_farm(tmp_path) as farm:
        (job,) = farm.jobs
        tasks = farm.view(job).tasks
        for number in closed:
            assert (tasks[number].state, tasks[number].output) == ("done", f"output of {number}")
        assert {task.state for task in tasks} <= {"done", "running", "ready"}
        assert len(farm.state.renders["a"].running) <= 8


# Faults of the file


def fill(folder: Path) -> None:
    """Write a farm with a job into a folder."""
    farm = FarmHarness()
    farm.state.unstored.collect()
    farm.job(listed(2), user_name="joe")
    farm.render()
    database = Database(folder)
    restore(farm_state(farm), database.open(), 0.0)
    database.write(make_rows(farm.state, farm.state.unstored.take(), farm.now))
    database.close()


def farm_state(farm: FarmHarness) -> FarmState:
    """A new farm with the clock and the settings of another one."""
    return FarmState(texts=farm.store, settings=farm.state.settings, wall=farm.state.wall)


def change(folder: Path, *statements: str) -> None:
    with closing(sqlite3.connect(folder / "farm.sqlite3")) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def find_moved(folder: Path) -> list[Path]:
    return list(folder.glob("farm.sqlite3.damaged-*"))


def cut_in_half(folder: Path) -> None:
    path = folder / "farm.sqlite3"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite(folder: Path) -> None:
    (folder / "farm.sqlite3").write_bytes(b"no database" * 1000)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (overwrite, "file is not a database"),
        (cut_in_half, "malformed"),
        (lambda f: change(f, "UPDATE jobs SET spec = '{'"), "job 2: JSONDecodeError"),
        (lambda f: change(f, "UPDATE jobs SET spec = '{}'"), "job 2: "),
        (lambda f: change(f, "UPDATE jobs SET data = '{}'"), "job 2: KeyError('state')"),
        (lambda f: change(f, "UPDATE blocks SET spec = '[7'"), "job 2: JSONDecodeError"),
        (lambda f: change(f, "DELETE FROM blocks"), "task 2.0.0: KeyError"),
        (lambda f: change(f, "UPDATE tasks SET data = 'null'"), "task 2.0.0: "),
        (
            lambda f: change(f, """UPDATE tasks SET data = '{"state":"x"}'"""),
            "task 2.0.0: ValueErr",
        ),
        (lambda f: change(f, "UPDATE users SET data = '{}'"), "a user: KeyError"),
        (lambda f: change(f, "UPDATE renders SET data = '{}'"), "a render: "),
        (lambda f: change(f, "INSERT INTO pool VALUES (1, '7')"), "the pool: "),
        (lambda f: change(f, "DROP TABLE tasks"), "no such table"),
    ],
)
async def test_damaged_records_are_named_and_moved_only_if_asked(
    tmp_path: Path, damage: Callable[[Path], None], problem: str
) -> None:
    fill(tmp_path)
    damage(tmp_path)
    before = (tmp_path / "farm.sqlite3").read_bytes()
    with pytest.raises(DamagedRecords, match=re.escape(problem)) as caught:
        async with open_farm(tmp_path):
            pass
    assert str(tmp_path / "farm.sqlite3") in str(caught.value)
    assert "move_damaged" in str(caught.value)
    assert (tmp_path / "farm.sqlite3").read_bytes() == before
    async with open_farm(tmp_path, move_damaged=True) as farm:
        assert farm.jobs == ()
        farm.submit(one_job())
    (moved,) = find_moved(tmp_path)
    assert moved.read_bytes() == before
    async with open_farm(tmp_path) as farm:
        assert len(farm.jobs) == 1


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("PRAGMA user_version = 99", "newer version of this program (store version 99, this one"),
        ("PRAGMA application_id = 5", "is a database of another program"),
    ],
)
async def test_files_of_others_are_refused(tmp_path: Path, statement: str, problem: str) -> None:
    fill(tmp_path)
    change(tmp_path, statement)
    before = (tmp_path / "farm.sqlite3").read_bytes()
    with pytest.raises(StoreError, match=re.escape(problem)):
        async with open_farm(tmp_path, move_damaged=True):
            pass
    assert (tmp_path / "farm.sqlite3").read_bytes() == before


async def test_a_folder_serves_one_farm(tmp_path: Path) -> None:
    async with open_farm(tmp_path):
        with pytest.raises(StoreInUse, match="another farm has it open"):
            async with open_farm(tmp_path):
                pass
    async with open_farm(tmp_path):
        pass


async def test_a_link_is_not_followed(tmp_path: Path) -> None:
    folder, outside = tmp_path / "farm", tmp_path / "mine"
    folder.mkdir(mode=0o700)
    outside.write_text("mine")
    (folder / "farm.sqlite3").symlink_to(outside)
    with pytest.raises(StoreError, match="symbolic links"):
        async with open_farm(folder):
            pass
    assert outside.read_text() == "mine"


async def test_a_full_disk_loses_no_record(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened_files: list[sqlite3.Connection] = []
    opened = Database.open

    def open_and_note(self: Database) -> object:
        stored = opened(self)
        assert self._connection is not None
        opened_files.append(self._connection)
        return stored

    def limit(pages: int) -> None:
        opened_files[-1].execute(f"PRAGMA max_page_count = {pages}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "open", open_and_note)
        async with open_farm(tmp_path) as farm:
            first = farm.submit(one_job(annotation="x" * 100))
            await farm.dispatch_and_store()
            limit(1)
            second = farm.submit(one_job(annotation="y" * 100_000))
            await farm.dispatch_and_store()
            assert "records are not stored" in caplog.text
            assert "full" in caplog.text
            edit_job(
                farm.state, farm.state.jobs[first], {"priority": 5}, ADMIN, trio.current_time()
            )
            await farm.dispatch_and_store()
            limit(1_000_000)
            farm.stop_job(second)
            await farm.dispatch_and_store()
            assert "records are stored again" in caplog.text
    async with open_farm(tmp_path) as farm:
        assert farm.jobs == (first, second)
        assert farm.state.jobs[first].spec.priority == 5
        assert farm.view(second).state == "stopped"


async def test_a_host_without_memory_loses_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: object) -> str:
        raise MemoryError

    async with open_farm(tmp_path) as farm:
        with monkeypatch.context() as context:
            context.setattr("trio_afrender.farm.record_rows._dump_spec", refuse)
            job = farm.submit(one_job())
            await farm.dispatch_and_store()
        assert "the host has no memory left" in caplog.text
        farm.stop_job(job)
        await farm.dispatch_and_store()
        assert "records are stored again" in caplog.text
    async with open_farm(tmp_path) as farm:
        assert farm.jobs == (job,)


async def test_a_farm_without_events_writes_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No render and no request makes it try again: the disk has room, and that is all."""
    monkeypatch.setattr("trio_afrender.farm.record_batches._RETRY", 0.05)
    wrote, written = Database.write, RecordBatches.written
    failed = trio.Event()
    stored = trio.Event()

    def fail_once(self: Database, rows: RecordRows) -> None:
        monkeypatch.setattr(Database, "write", wrote)
        trio.from_thread.run_sync(failed.set)
        raise StoreError(self.path, "database or disk is full")

    def note(self: RecordBatches) -> None:
        written(self)
        if failed.is_set():
            stored.set()

    monkeypatch.setattr(RecordBatches, "written", note)
    async with open_farm(tmp_path) as farm:
        await farm.dispatch_and_store()
        monkeypatch.setattr(Database, "write", fail_once)
        farm.submit(one_job())
        with trio.fail_after(20):
            await failed.wait()
            await stored.wait()
        assert not farm.state.unstored


async def test_a_deleted_job_leaves_nothing(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery, open_farm(tmp_path) as farm:
        job = farm.submit(one_job(listed(2)))
        link = FakeLink()
        nursery.start_soon(farm.serve_link, link)
        await link.register()
        for task in (await link.expect(Events)).tasks:
            await link.update(make_update(task, output="text"))
        await farm.wait(job)
        assert (tmp_path / str(job)).is_dir()
        operate_job(farm.state, farm.state.jobs[job], {"type": "delete"}, ADMIN, 0.0)
        await farm.dispatch_and_store()
        link.cut()
    assert not (tmp_path / str(job)).exists()
    database = Database(tmp_path)
    stored = database.open()
    database.close()
    assert (stored.jobs, stored.blocks, stored.tasks) == ([], [], [])
    assert stored.counters["next_job"] == job + 1


async def test_texts_of_a_deleted_job_go_after_a_kill_as_well(tmp_path: Path) -> None:
    """The farm is killed when the job has left the database, and its texts have not been removed."""
    async with open_farm(tmp_path) as farm:
        job, kept = farm.submit(one_job()), farm.submit(one_job())
    for each in (job, kept):
        (tmp_path / str(each) / "0.0").mkdir(parents=True)
        (tmp_path / str(each) / "0.0" / "log.txt").write_text("text")
    database = Database(tmp_path)
    database.open()
    database.write(RecordRows(deleted_jobs=[job]))
    database.close()
    for _ in range(2):
        async with open_farm(tmp_path) as farm:
            farm.dispatch()
            await farm.dispatch_and_store()
            assert farm.jobs == (kept,)
        assert not (tmp_path / str(job)).exists()
        assert (tmp_path / str(kept) / "0.0" / "log.txt").exists()
    assert database.open().removed == []
    database.close()


async def test_a_farm_may_have_no_records(tmp_path: Path) -> None:
    async with open_farm(tmp_path, records=False) as farm:
        farm.submit(one_job())
    assert not (tmp_path / "farm.sqlite3").exists()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """All kinds of records at once, through the file."""
    farm = FarmHarness(errors_retries=2)
    farm.state.unstored.collect()
    job = farm.job(listed(3), user_name="j\u00f6e", name="\udcff\0 \U0001f600")
    render = farm.render("r\u00e9nder")
    one, two, _ = render.take()
    render.end(one, TaskStatus.FinishedError)
    farm.stop_task(two.key, "why")
    farm.edit(job, {"folders": {"output": "\u00e9"}, "depend_mask": "x"})
    farm.operate_blocks(job, [0], "suspend", task_ids=[0])
    database = Database(tmp_path)
    database.open()
    database.write(make_rows(farm.state, farm.state.unstored.take(), farm.now))
    database.write(RecordRows())
    database.close()
    copy = farm_state(farm)
    restore(copy, database.open(), farm.now)
    database.close()
    assert find_differences(show_records(copy), show_records(farm.state)) == []
    assert copy.find_task(TaskKey(job, 0, 0)).errors == 1
