"""Texts and files on a disk, and faults of the disk."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest
import trio
from support.farm import FakeLink, listed, make_update, one_job
from support.polling import until

from trio_afrender.errors import StoreError
from trio_afrender.farm import FarmSettings, make_report, open_farm
from trio_afrender.farm.json_interface import open_requests
from trio_afrender.farm.json_interface.answers import info
from trio_afrender.farm.json_interface.asker import Asker
from trio_afrender.farm.state import AttemptOutput, FileData, LogText
from trio_afrender.farm.store import DiskFarmStore
from trio_afrender.protocol.messages import (
    Events,
    FilesEntry,
    LogEntry,
    Reason,
    TaskFile,
    TaskKey,
    TaskStatus,
)

KEY = TaskKey(2, 0, 1)


def test_a_folder_is_made_private(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "farm"
    assert DiskFarmStore(folder).open() == 2
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o755)
    (folder / "7").mkdir()
    (folder / "notes").mkdir()
    assert DiskFarmStore(folder).open() == 8, "ids of another farm's jobs are not used again"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_path_that_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(StoreError, match="is a link or a file"):
        DiskFarmStore(tmp_path / "link").open()
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="is a link or a file"):
        DiskFarmStore(tmp_path / "file").open()
    with pytest.raises(StoreError, match="is not a folder"):
        DiskFarmStore(tmp_path / "file" / "farm").open()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_folder_of_another_user(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, -1)
    with pytest.raises(StoreError, match="belongs to user"):
        DiskFarmStore(tmp_path).open()


def test_texts_and_files_are_read_as_written(tmp_path: Path) -> None:
    store = DiskFarmStore(tmp_path)
    store.open()
    assert (store.log(KEY), store.output(KEY, 1)) == ("", "")
    failed = store.write(
        [
            LogText(KEY, "one\n"),
            AttemptOutput(KEY, 1, "old"),
            FileData(KEY, "a.jpg", b"old"),
            LogText(KEY, "two\n"),
            AttemptOutput(KEY, 1, "n\u00e9w\udcff"),
            AttemptOutput(KEY, 2, "second"),
            FileData(KEY, "a.jpg", b"new"),
        ]
    )
    assert failed == []
    store.write([LogText(KEY, "three\ud800\n")])
    assert store.log(KEY) == "one\ntwo\nthree?\n"
    assert store.output(KEY, 1) == "n\u00e9w\ufffd"
    assert (tmp_path / "2" / "0.1" / "output.1.txt").read_bytes() == b"n\xc3\xa9w\xff"
    assert store.output(KEY, 2) == "second"
    assert store.path(KEY, "a.jpg").read_bytes() == b"new"
    assert sorted(p.name for p in (tmp_path / "2" / "0.1").rglob("*")) == [
        "a.jpg", "files", "log.txt", "output.1.txt", "output.2.txt",
    ]  # fmt: skip
    modes = {stat.S_IMODE(p.stat().st_mode) for p in tmp_path.rglob("*") if p.is_file()}
    assert modes == {0o600}


@pytest.mark.parametrize(("refusals", "stored"), [(2, True), (1000, False)])
def test_texts_wait_for_a_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusals: int, stored: bool
) -> None:
    monkeypatch.setattr("trio_afrender.farm.store.DESCRIPTOR_TIMEOUT", 0.5)
    store = DiskFarmStore(tmp_path)
    store.open()
    left, opened = [refusals], os.open

    def open_later(path: str, flags: int, mode: int = 0o777) -> int:
        left[0] -= 1
        if left[0] >= 0:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), path)
        return opened(path, flags, mode)

    with monkeypatch.context() as context:
        context.setattr(os, "open", open_later)
        failed = store.write([LogText(KEY, "one\n"), AttemptOutput(KEY, 1, "out")])
    if stored:
        assert (failed, store.log(KEY), store.output(KEY, 1)) == ([], "one\n", "out")
    else:
        assert set(failed) == {(KEY, "Too many open files")}


def test_a_text_that_cannot_be_read_is_not_shown_as_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DiskFarmStore(tmp_path)
    store.write([LogText(KEY, "one\n"), AttemptOutput(KEY, 1, "out")])

    def refuse(path: Path) -> bytes:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    text = "[the stored text cannot be read: Too many open files]\n"
    assert (store.log(KEY), store.output(KEY, 1)) == (text, text)


def test_a_log_above_its_limit(tmp_path: Path) -> None:
    store = DiskFarmStore(tmp_path)
    piece = "x" * 1_000_000 + "\n"
    for _ in range(6):
        store.write([LogText(KEY, piece)])
    text = store.log(KEY)
    assert len(text) < 4 * 1024 * 1024 + 100
    assert text.count("the log of this task is full") == 1


def test_links_are_not_followed(tmp_path: Path) -> None:
    store = DiskFarmStore(tmp_path / "farm")
    store.open()
    store.write([LogText(KEY, "x"), FileData(KEY, "a", b"")])
    outside = tmp_path / "outside"
    outside.write_text("mine")
    place = tmp_path / "farm" / "2" / "0.1"
    (place / "log.txt").unlink()
    for link in (place / "log.txt", place / "files" / "a.part", place / "output.1.txt.part"):
        link.symlink_to(outside)
    failed = store.write([LogText(KEY, "x"), FileData(KEY, "a", b"x"), AttemptOutput(KEY, 1, "x")])
    assert [problem for _, problem in failed] == ["Too many levels of symbolic links"]
    assert outside.read_text() == "mine"
    # What stands in the place of an unfinished file is replaced, whatever it is.
    assert (place / "files" / "a").read_bytes() == b"x"
    assert store.output(KEY, 1) == "x"


async def test_a_farm_on_disk(tmp_path: Path) -> None:
    with trio.fail_after(30.0):
        async with trio.open_nursery() as nursery, open_farm(tmp_path / "farm") as farm:
            job = farm.submit(one_job(listed(2), name="j"))
            link = FakeLink()
            nursery.start_soon(farm.serve_link, link)
            await link.register()
            one, two = (await link.expect(Events)).tasks
            await link.update(
                log=(LogEntry(run=one.run, n=1, text="warming up\n"),),
                files=(FilesEntry(run=one.run, n=1, files=(TaskFile(name="t.jpg", data=b"j"),)),),
            )
            why = (Reason(time=1.0, event="exit", text="exit code 0", pids=(7,)),)
            await link.update(
                make_update(one, output="hi\n", exit_code=0, started=1.5, finished=2.5, why=why)
            )
            await link.expect(Events)
            farm.stop_task(two.key, "no")
            await link.expect(Events)
            await link.update(make_update(two, TaskStatus.FinishedKilled, exit_signal=15))
            await farm.wait(job)
            report = json.loads(json.dumps(farm.report(job)))
            assert report == await trio.to_thread.run_sync(make_report, farm.view(job))
    tasks = report.pop("tasks")
    assert report.keys() == {"job", "state", "started", "finished"}
    assert (report["job"], report["state"]) == ("j", "stopped")
    assert list(tasks[0]) == [
        "job", "block", "task", "number", "run", "name", "block_name", "render", "state", "outcome",
        "status", "exit_code", "started", "finished", "attempts", "percent", "frame",
        "frame_first", "frame_last", "frames_done", "activity", "report", "resources", "usage", "log",
        "output", "files", "why",
    ]  # fmt: skip
    assert (tasks[0]["state"], tasks[0]["status"], tasks[0]["exit_code"]) == ("done", 5, 0)
    assert (tasks[0]["started"], tasks[0]["finished"]) == (1.5, 2.5)
    assert tasks[0]["output"] == "hi\n"
    assert "warming up\n" in tasks[0]["log"]
    (thumbnail,) = tasks[0]["files"]
    assert thumbnail == str(tmp_path / "farm" / str(job) / "0.0" / "files" / "t.jpg")
    assert await trio.Path(thumbnail).read_bytes() == b"j"
    assert tasks[0]["why"] == [{"time": 1.0, "event": "exit", "text": "exit code 0", "pids": [7]}]
    assert (tasks[1]["state"], tasks[1]["exit_code"]) == ("killed", -15)


async def test_a_disk_that_cannot_be_written(tmp_path: Path) -> None:
    """Texts that are not stored are reported, and the farm keeps running."""
    with trio.fail_after(30.0):
        async with trio.open_nursery() as nursery, open_farm(tmp_path / "farm") as farm:
            job = farm.submit(one_job())
            (tmp_path / "farm" / str(job)).write_text("in the way")
            link = FakeLink()
            nursery.start_soon(farm.serve_link, link)
            await link.register()
            task = (await link.expect(Events)).tasks[0]
            await link.update(make_update(task, output="lost"))
            assert [ref.run for ref in (await link.expect(Events)).closes] == [task.run]
            view = await farm.wait(job)
    assert view.state == "done"
    assert {step.text for step in view.tasks[0].why} == {"text not stored: Not a directory"}
    assert (view.tasks[0].log, view.tasks[0].output) == ("", "")


async def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        async with open_farm(tmp_path / "file"):
            raise AssertionError


@pytest.mark.parametrize("cancelled", [False, True])
async def test_texts_queued_at_the_end_are_stored(tmp_path: Path, cancelled: bool) -> None:
    with trio.fail_after(30.0):
        with trio.CancelScope() as scope:
            async with open_farm(tmp_path / "farm") as farm:
                job = farm.submit(one_job(listed(200)))
                farm.stop_job(job, "never mind")
                if cancelled:
                    scope.cancel()
                    await trio.lowlevel.checkpoint()
    logs = list((tmp_path / "farm" / str(job)).glob("*/log.txt"))
    assert len(logs) == 200
    assert logs[0].read_text().endswith("asked: not started: never mind\n")


async def test_texts_and_records_wait_on_a_host_without_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They exist nowhere else, so the farm must neither end nor leave them out."""
    monkeypatch.setattr("trio_afrender.tasklog.io_threads.PAUSES", (0.01,))

    async def refuse(*_: object, **__: object) -> None:
        await trio.lowlevel.checkpoint()
        raise RuntimeError("can't start new thread")

    async with (
        open_farm(tmp_path / "farm") as farm,
        open_requests(farm, gui_folder=tmp_path) as requests,
    ):
        await farm.dispatch_and_store()
        with monkeypatch.context() as context:
            context.setattr(trio.to_thread, "run_sync", refuse)
            job = farm.submit(one_job())
            await until(lambda: "no thread can be started" in caplog.text)
            answer = await requests.answer({"get": {"type": "config"}}, Asker(address="x"))
            assert answer == info("error", "the farm cannot answer now: no thread can be started")
        await farm.dispatch_and_store()
        assert "texts and records are stored again" in caplog.text
    async with open_farm(tmp_path / "farm") as farm:
        assert farm.jobs == (job,)


async def test_a_farm_opens_and_closes_on_a_host_without_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_afrender.tasklog.io_threads.PAUSES", (0.01,))

    async def refuse(*_: object, **__: object) -> None:
        await trio.lowlevel.checkpoint()
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as context:
        context.setattr(trio.to_thread, "run_sync", refuse)
        with pytest.raises(StoreError, match="no thread can be started"):
            async with open_farm(tmp_path / "farm"):
                pass
    with monkeypatch.context() as context:
        async with open_farm(tmp_path / "farm", settings=FarmSettings(flush=0.1)) as farm:
            job = farm.submit(one_job())
            await farm.dispatch_and_store()
            context.setattr(trio.to_thread, "run_sync", refuse)
    # The file is closed: another farm can open it.
    async with open_farm(tmp_path / "farm") as farm:
        assert farm.jobs == (job,)
