"""The GPUs of a run, as its folder keeps them for a later agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from trio_afrender.protocol.messages import TaskExec
from trio_afrender.task.run_folder import GPUS_FILE, open_run_folder, run_folder_name

TASK = TaskExec(run="r1", job=2, block=0, task=3)


async def test_what_was_noted_is_known_to_the_next_who_opens_the_place(tmp_path: Path) -> None:
    async with open_run_folder(tmp_path, TASK, quota=1 << 20) as place:
        assert await place.recorded_gpus() == ()
        await place.record_gpus(("0", "MIG-a"))
    async with open_run_folder(tmp_path, TASK, quota=1 << 20) as place:
        assert await place.recorded_gpus() == ("0", "MIG-a")


@pytest.mark.parametrize("text", ["", "nonsense", "{}", "5", '["0", 7]'])
async def test_nonsense_is_no_card(tmp_path: Path, text: str) -> None:
    async with open_run_folder(tmp_path, TASK, quota=1 << 20) as place:
        (tmp_path / run_folder_name(TASK) / GPUS_FILE).write_text(text)
        assert await place.recorded_gpus() == (("0",) if "0" in text else ())


async def test_a_folder_that_takes_no_note_stops_no_task(tmp_path: Path) -> None:
    async with open_run_folder(tmp_path, TASK, quota=1 << 20) as place:
        (tmp_path / run_folder_name(TASK) / f"{GPUS_FILE}.part").mkdir()
        await place.record_gpus(("0",))
        assert await place.recorded_gpus() == ()
