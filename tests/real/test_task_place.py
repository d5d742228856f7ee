"""A run's folder on disk, when the task itself meddles with it."""

from __future__ import annotations

import shutil
from pathlib import Path

from trio_afrender.messages import TaskExec
from trio_afrender.task.place import open_disk_place

TASK = TaskExec(run="r1", job=2, block=0, task=0)


async def test_files_that_vanish_are_no_files(tmp_path: Path) -> None:
    async with open_disk_place(tmp_path, TASK, quota=1 << 20) as place:
        files = Path(place.files_dir)
        (files / "a.jpg").write_bytes(b"a")
        (files / "gone.jpg").symlink_to(files / "nowhere")
        assert [file.name for file in await place.collect(())] == ["a.jpg"]
        shutil.rmtree(files)
        assert await place.collect(()) == ()
