"""The file in which the folder of a run keeps its GPUs for a later agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from trio_afrender.protocol.messages import TaskExec
from trio_afrender.task.run_folder import GPUS_FILE, open_run_folder

TASK = TaskExec(run="r1", job=2, block=0, task=3)


async def test_recorded_gpus_are_there_when_the_folder_is_opened_again(tmp_path: Path) -> None:
    async with open_run_folder(tmp_path, TASK, quota=1 << 20) as run_folder:
        assert await run_folder.recorded_gpus() == ()
        await run_folder.record_gpus(("0", "MIG-a"))
    async with open_run_folder(tmp_path, TASK, quota=1 << 20) as run_folder:
        assert await run_folder.recorded_gpus() == ("0", "MIG-a")


@pytest.mark.parametrize("text", ["", "nonsense", "{}", "5", '["0", 7]'])
async def test_invalid_contents_are_no_gpu(tmp_path: Path, text: str) -> None:
    async with open_run_folder(tmp_path, TASK, quota=1 << 20) as run_folder:
        run_folder.folder.mkdir()
        (run_folder.folder / GPUS_FILE).write_text(text)
        assert await run_folder.recorded_gpus() == (("0",) if "0" in text else ())


async def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    async with open_run_folder(tmp_path, TASK, quota=1 << 20) as run_folder:
        (run_folder.folder / f"{GPUS_FILE}.part").mkdir(parents=True)
        await run_folder.record_gpus(("0",))
        assert await run_folder.recorded_gpus() == ()
