"""Files that a task leaves for the server: those that are complete, and no half ones."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from trio_afrender.protocol.messages import TaskExec
from trio_afrender.task.run_folder import (
    DiskRunFolder,
    open_run_folder,
    remove_run_folders,
    run_folder_name,
)
from trio_afrender.tasklog.redact import Redactor

TASK = TaskExec(run="r1", job=2, block=0, task=0, name="frame 1", service="generic")
JPEG = b"\xff\xd8 a picture \xff\xd9"
PNG = b"\x89PNG\r\n\x1a\n a picture IEND\xaeB`\x82"


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[DiskRunFolder]:
    async with open_run_folder(tmp_path, TASK, quota=1 << 20) as opened:
        yield opened


def put(place: DiskRunFolder, name: str, data: bytes, age: float = 0.0) -> None:
    file = Path(place.files_dir) / name
    file.write_bytes(data)
    moment = time.time() - age
    os.utime(file, (moment, moment))


async def collected(place: DiskRunFolder, *seen: str) -> list[str]:
    return [file.name for file in await place.collect(seen)]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_pictures_are_taken_when_they_have_their_end(place: DiskRunFolder) -> None:
    put(place, "a.jpg", JPEG)
    put(place, "b.jpg", JPEG[:-2])
    put(place, "c.png", PNG)
    put(place, "d.png", PNG[:-1], age=100)
    assert await collected(place) == ["a.jpg", "c.png"]
    assert await collected(place, "a.jpg") == ["c.png"]
    put(place, "b.jpg", JPEG)
    assert await collected(place) == ["a.jpg", "b.jpg", "c.png"]


async def test_other_files_must_rest(place: DiskRunFolder) -> None:
    put(place, "new.txt", b"being written")
    put(place, "old.txt", b"written", age=5)
    put(place, "empty.txt", b"", age=5)
    assert await collected(place) == ["old.txt"]


async def test_names_for_what_is_on_its_way(place: DiskRunFolder) -> None:
    for name in (".a.jpg", "a.jpg.part", "a.tmp"):
        put(place, name, JPEG, age=5)
    assert await collected(place) == []


async def test_at_the_end_everything_is_complete(place: DiskRunFolder) -> None:
    put(place, "b.jpg", JPEG[:-2])
    put(place, "new.txt", b"written")
    put(place, "large.bin", b"x" * 100_000)
    put(place, ".hidden", b"x")
    files, _ = await place.collect_final((), viewed=False, limit=1000, redactor=Redactor(()))
    assert [file.name for file in files] == ["b.jpg", "new.txt"]


async def test_files_that_vanish_are_no_files(place: DiskRunFolder) -> None:
    put(place, "a.jpg", JPEG)
    files = Path(place.files_dir)
    (files / "gone.jpg").symlink_to(files / "nowhere")
    assert await collected(place) == ["a.jpg"]


async def test_a_folder_that_vanished_has_no_files(place: DiskRunFolder) -> None:
    await trio.Path(place.files_dir).rmdir()
    assert await collected(place) == []
    files, _ = await place.collect_final((), viewed=False, limit=1000, redactor=Redactor(()))
    assert files == ()


@pytest.mark.parametrize(
    "left",
    ["", "task.end", "work/frame.exr", "files/t.jpg", "log/0", "view/0", "post-0.end", "task.sock"],
)
async def test_the_folder_of_a_run_goes_whatever_it_left(tmp_path: Path, left: str) -> None:
    task = TaskExec(run="r1", job=1, block=0, task=7)
    async with open_run_folder(tmp_path, task, quota=1000, supervised=True) as place:
        if left:
            path = place.folder / left
            path.parent.mkdir(exist_ok=True)
            path.write_text("x")
    await remove_run_folders(tmp_path, [task, task])  # one that is gone already is no problem
    assert names_in(tmp_path) == []


async def test_a_link_in_place_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "runs"
    task = TaskExec(run="r1", job=1, block=0, task=7)
    for name in ("work", "files"):
        (elsewhere / name).mkdir(parents=True)
    (elsewhere / "task.end").write_text("not ours")
    root.mkdir()
    (root / run_folder_name(task)).symlink_to(elsewhere)
    await remove_run_folders(root, [task])
    assert names_in(elsewhere) == ["files", "task.end", "work"]
