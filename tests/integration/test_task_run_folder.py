"""The folder of a run: which files of the task are complete, and how the folder is removed."""

from __future__ import annotations

import errno
import math
import os
import re
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_afrender.plugins.interfaces import Replaced
from trio_afrender.process.supervised_tree import read_exit_record
from trio_afrender.protocol.messages import TaskExec
from trio_afrender.safe_files import read_regular
from trio_afrender.supervisor.paths import write_end
from trio_afrender.supervisor.protocol import TreeState
from trio_afrender.supervisor.run_folders import make_folders, remove_folders
from trio_afrender.task import collected_files
from trio_afrender.task.collected_files import SentFiles
from trio_afrender.task.run_folder import (
    OWN_SLOT,
    DiskRunFolder,
    open_run_folder,
    run_folder_name,
)
from trio_afrender.tasklog.redact import Redactor
from trio_afrender.tasklog.supervised_log import SupervisedLog
from trio_afrender.tasklog.writer import open_writer

TASK = TaskExec(run="r1", job=2, block=0, task=0, name="frame 1", service="generic")
JPEG = b"\xff\xd8 a picture \xff\xd9"
PNG = b"\x89PNG\r\n\x1a\n a picture IEND\xaeB`\x82"


@pytest.fixture
async def run_folder(tmp_path: Path) -> AsyncIterator[DiskRunFolder]:
    async with open_run_folder(tmp_path, TASK, quota=1 << 20) as opened:
        make_folders(opened.persistence(OWN_SLOT).folders)
        yield opened


def put(
    run_folder: DiskRunFolder, name: str, data: bytes, age: float = 0.0, now: float | None = None
) -> None:
    file = Path(run_folder.files_dir) / name
    file.write_bytes(data)
    moment = (time.time() if now is None else now) - age
    os.utime(file, (moment, moment))


def sent(*names: str) -> SentFiles:
    return SentFiles(most=1000, most_bytes=1 << 20, names=set(names))


async def collected(run_folder: DiskRunFolder, *seen: str) -> list[str]:
    return [file.name for file in (await run_folder.collect(sent(*seen), Redactor(()))).files]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_images_are_complete_with_their_end_marker(run_folder: DiskRunFolder) -> None:
    put(run_folder, "a.jpg", JPEG)
    put(run_folder, "b.jpg", JPEG[:-2])
    put(run_folder, "c.png", PNG)
    put(run_folder, "d.png", PNG[:-1], age=100)
    assert await collected(run_folder) == ["a.jpg", "c.png"]
    assert await collected(run_folder, "a.jpg") == ["c.png"]
    put(run_folder, "b.jpg", JPEG)
    assert await collected(run_folder) == ["a.jpg", "b.jpg", "c.png"]


async def test_other_files_are_complete_when_unchanged_for_a_while(
    run_folder: DiskRunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr(collected_files, "time", SimpleNamespace(time=lambda: now))
    put(run_folder, "new.txt", b"being written", now=now)
    put(run_folder, "old.txt", b"written", age=5, now=now)
    put(run_folder, "empty.txt", b"", age=5, now=now)
    assert await collected(run_folder) == ["old.txt"]


async def test_names_of_unfinished_files(run_folder: DiskRunFolder) -> None:
    for name in (".a.jpg", "a.jpg.part", "a.tmp"):
        put(run_folder, name, JPEG, age=5)
    assert await collected(run_folder) == []


async def test_at_the_end_of_the_run_all_files_are_complete(run_folder: DiskRunFolder) -> None:
    put(run_folder, "b.jpg", JPEG[:-2])
    put(run_folder, "new.txt", b"written")
    put(run_folder, "large.bin", b"x" * 100_000)
    put(run_folder, ".hidden", b"x")
    batch, _ = await run_folder.collect_final(
        sent(), viewed=False, limit=1000, redactor=Redactor(())
    )
    assert [file.name for file in batch.files] == ["b.jpg", "new.txt"]


async def test_files_that_vanish_are_skipped(run_folder: DiskRunFolder) -> None:
    put(run_folder, "a.jpg", JPEG)
    files = Path(run_folder.files_dir)
    (files / "gone.jpg").symlink_to(files / "nowhere")
    assert await collected(run_folder) == ["a.jpg"]


async def test_a_folder_that_vanished_has_no_files(run_folder: DiskRunFolder) -> None:
    await trio.Path(run_folder.files_dir).rmdir()
    assert await collected(run_folder) == []
    batch, _ = await run_folder.collect_final(
        sent(), viewed=False, limit=1000, redactor=Redactor(())
    )
    assert batch.files == ()


@pytest.mark.parametrize(
    "left",
    ["", "task.end", "work/frame.exr", "files/t.jpg", "log/0", "view/0", "post-0.end", "task.sock"],
)
async def test_the_folder_of_a_run_is_removed_whatever_it_contains(
    tmp_path: Path, left: str
) -> None:
    task = TaskExec(run="r1", job=1, block=0, task=7)
    async with open_run_folder(tmp_path, task, quota=1000) as run_folder:
        make_folders(run_folder.persistence(OWN_SLOT).folders)
        if left:
            path = run_folder.folder / left
            path.parent.mkdir(exist_ok=True)
            path.write_text("x")
    remove_folders([str(run_folder.folder)] * 2)  # the second time it does not exist
    assert names_in(tmp_path) == []


async def test_a_link_in_place_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "runs"
    task = TaskExec(run="r1", job=1, block=0, task=7)
    for name in ("work", "files"):
        (elsewhere / name).mkdir(parents=True)
    (elsewhere / "task.end").write_text("not ours")
    root.mkdir()
    (root / run_folder_name(task)).symlink_to(elsewhere)
    remove_folders([str(root / run_folder_name(task))])
    assert names_in(elsewhere) == ["files", "task.end", "work"]


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _folder(path: Path) -> None:
    path.mkdir()


def _huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 10**12)


@pytest.mark.parametrize("put_in_place", [_fifo, _device, _folder, _huge])
async def test_what_a_task_puts_in_the_place_of_our_files_is_never_waited_for(
    tmp_path: Path, put_in_place: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_afrender.task.run_folder.STOP_FILE_TIMEOUT", math.inf)
    task = TaskExec(run="r1", job=1, block=0, task=7)
    with trio.fail_after(20):
        async with open_run_folder(tmp_path, task, quota=1000) as run_folder:
            make_folders(run_folder.persistence(OWN_SLOT).folders)
            folder = run_folder.folder
            for name in ("stop.json", "stop.json.part", "cards.json", "task.end", "files/a.jpg"):
                put_in_place(folder / name)
            assert await run_folder.recorded_gpus() == ()
            assert await collected(run_folder) == []
            assert read_exit_record(str(folder / OWN_SLOT)) is None
            if put_in_place is _folder:
                with pytest.raises(IsADirectoryError):
                    await run_folder.write_stop("asked", 1, 2)
                with pytest.raises(IsADirectoryError):
                    write_end(str(folder / OWN_SLOT), TreeState())
            else:
                await run_folder.write_stop("asked", 1, 2)
                assert "asked" in (folder / "stop.json").read_text()
                ended = TreeState(raw=0, empty=True)
                write_end(str(folder / OWN_SLOT), ended)
                assert read_exit_record(str(folder / OWN_SLOT)) == ended


def test_different_runs_have_different_folders() -> None:
    long = "r" * 64
    ids = ["r1", "r-1", "r_1", "r.1", "r/1", "", long, f"{long}a", f"{long}b", "1.0.7-r1", "../r1"]
    names = {run_folder_name(TaskExec(run=run, job=1, block=0, task=7)) for run in ids}
    assert len(names) == len(ids)
    assert all(re.fullmatch(r"1\.0\.7_[A-Za-z0-9-]{1,64}", name) for name in names)
    # An id of a real server's render, as earlier builds named its folder.
    task = TaskExec(run="1.0.7-0123456789abcdef", job=1, block=0, task=7)
    assert run_folder_name(task) == "1.0.7_1-0-7-0123456789abcdef"


async def test_output_that_a_parser_changes_has_the_quota_of_the_log(tmp_path: Path) -> None:
    size, quota = 400_000, 65_536
    async with open_run_folder(tmp_path, TASK, quota=quota) as run_folder:
        make_folders(run_folder.persistence(OWN_SLOT).folders)
        writer = open_writer(run_folder.folder / "log", quota=1 << 20, segment=1 << 20, held=0)
        writer.append(b"a" * size)
        writer.close()
        assert isinstance(run_folder.log, SupervisedLog)
        run_folder.log.follow(size)
        await run_folder.view.apply(size, [Replaced(start=0, end=1, text="b")])
        assert run_folder.view.size == size
        stored = sum(file.stat().st_size for file in (run_folder.folder / "view").iterdir())
        assert 0 < stored <= quota


async def test_folders_that_no_task_can_enter(
    run_folder: DiskRunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    assert await run_folder.is_folder(str(tmp_path))
    for path in ("none", "file", "file/below", "n" * 300):
        assert not await run_folder.is_folder(str(tmp_path / path)), path

    def fail(number: int) -> Callable[[Path], bool]:
        def is_dir(path: Path) -> bool:
            raise OSError(number, os.strerror(number), str(path))

        return is_dir

    monkeypatch.setattr(Path, "is_dir", fail(errno.EACCES))
    assert not await run_folder.is_folder("/closed/below")
    monkeypatch.setattr(Path, "is_dir", fail(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        await run_folder.is_folder("/broken")


async def test_mounts_that_hang_take_no_threads_of_other_work(
    run_folder: DiskRunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(Path, "is_dir", lambda _: answers.wait(60))
    try:
        with trio.fail_after(30), trio.CancelScope() as looking:
            async with trio.open_nursery() as nursery:
                for _ in range(60):
                    nursery.start_soon(run_folder.is_folder, "/mnt/dead")
                await wait_all_tasks_blocked()
                assert await trio.to_thread.run_sync(lambda: "a name look-up") == "a name look-up"
                looking.cancel()
    finally:
        answers.set()


async def test_the_gpus_of_a_run_are_read_although_a_descriptor_was_missing(
    run_folder: DiskRunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else another task would get the same ones for as long as the run lives."""
    await run_folder.record_gpus(("0", "2"))
    failures = [errno.EMFILE, errno.ENFILE]

    def read(path: Path, limit: int) -> bytes:
        if failures:
            number = failures.pop()
            raise OSError(number, os.strerror(number))
        return read_regular(path, limit)

    monkeypatch.setattr("trio_afrender.task.run_folder.read_regular", read)
    assert await run_folder.recorded_gpus() == ("0", "2")
