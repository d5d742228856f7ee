"""``run --sheet``: thumbnails of real images, made by an agent and collected by the farm."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import OpenImageIO as oiio
import pytest
from support.cli import run_command

from trio_afrender.cli.job_contact_sheet import MAX_CELLS, check_sheet, list_cells
from trio_afrender.errors import ConfigError
from trio_afrender.jobs.views import JobView, TaskView
from trio_afrender.thumbnail.contact_sheet import MAX_SHEET_WIDTH, fit_text, make_grid, make_sheet
from trio_afrender.thumbnail.fonts import FontChoice

RENDER = """
import sys
import numpy as np, OpenImageIO as oiio
name, red = sys.argv[1], float(sys.argv[2])
image = oiio.ImageBuf(oiio.ImageSpec(160, 80, 3, "half"))
pixels = np.zeros((80, 160, 3), np.float32)
pixels[..., 0] = red
image.set_pixels(oiio.ROI(), pixels)
assert image.write(name)
print("@IMAGE!@" + name)
"""


def block(name: str, red: float, **fields: object) -> dict[str, object]:
    render = shlex.join([sys.executable, "-c", RENDER])
    return {
        "name": name,
        "service": "generic",
        "parser": "generic",
        "flags": 1 | 128,
        "frame_first": 1,
        "frame_last": 2,
        "capacity": 100,
        "files": [f"{name} it's.@##@.exr"],
        "command": f"""{render} "{name} it's.@##@.exr" {red}""",
        **fields,
    }


@pytest.fixture
def job(tmp_path: Path) -> Path:
    folder = tmp_path / "shots"
    folder.mkdir()
    blocks = [block("red", 1.0), block("black", 0.0), block("none", 1.0, command="true")]
    for each in blocks:
        each["working_directory"] = str(folder)
    path = tmp_path / "job.json"
    path.write_text(json.dumps({"job": {"name": "all of it", "blocks": blocks}}))
    (tmp_path / "c.json").write_text(
        '{"cgru_config": {"trio_afrender": {"check_images": "error", "thumbnail_height": 40}}}'
    )
    return path


async def test_a_sheet_has_the_thumbnails_of_all_tasks(job: Path, tmp_path: Path) -> None:
    report, sheet = tmp_path / "r.json", tmp_path / "sheet.png"
    words = ("run", job, "--config", "c.json", "--retries", "0", "--no-progress")
    code, _, err = await run_command(*words, "--report", report, "--sheet", sheet, home=tmp_path)
    assert code == 1
    assert f"sheet: {sheet}\n" in err
    tasks = json.loads(report.read_text())["tasks"]
    assert [(task["state"], task["status"]) for task in tasks] == [("done", 5)] * 2 + [
        ("error", 13)
    ] * 4
    assert [[Path(file).name for file in task["files"]] for task in tasks] == [
        ["red it's.01.exr.jpg"], ["red it's.02.exr.jpg"],
        ["black it's.01.exr.jpg"], ["black it's.02.exr.jpg"], [], [],
    ]  # fmt: skip
    log = tasks[2]["log"]
    assert f"error: the image is black all over: {tmp_path}/shots/black it's.01.exr" in log
    assert "File does not exist" in tasks[4]["log"]
    picture = oiio.ImageBuf(str(sheet))
    pixels = np.asarray(picture.get_pixels("float"), np.float32)
    grid = make_grid(6, 80, 40)
    assert (pixels.shape[1], pixels.shape[0]) == (grid.width, grid.height)
    for index, colour in enumerate([(1, 0, 0)] * 2 + [(0, 0, 0)] * 2 + [(0.36, 0.1, 0.1)] * 2):
        left, top = grid.corner(index)
        assert pixels[top + 5, left + 5].tolist() == pytest.approx(colour, abs=0.03), index


async def test_a_job_without_pictures_has_no_sheet(tmp_path: Path) -> None:
    tasks = [{"name": "t", "command": "true"}]
    blocks = [{"name": "b", "service": "generic", "tasks": tasks}]
    (tmp_path / "j.json").write_text(json.dumps({"job": {"name": "j", "blocks": blocks}}))
    code, _, err = await run_command(
        "run", "j.json", "--no-progress", "--sheet", "s.png", home=tmp_path
    )
    assert code == 0
    assert "no sheet: the job has no thumbnails\n" in err
    assert not (tmp_path / "s.png").exists()


@pytest.mark.parametrize(
    ("level", "warnings"),
    [("warn", ["image: cannot read {file}: Not a PNG file"]), ("off", [])],
)
async def test_an_image_without_a_thumbnail_is_in_the_summary(
    tmp_path: Path, level: str, warnings: list[str]
) -> None:
    block = {"name": "b", "service": "generic", "working_directory": ".", "files": ["a.png"]}
    blocks = [{**block, "tasks": [{"name": "t", "command": "echo no > a.png"}]}]
    (tmp_path / "j.json").write_text(json.dumps({"job": {"name": "j", "blocks": blocks}}))
    own = {"trio_afrender": {"check_images": level}}
    (tmp_path / "c.json").write_text(json.dumps({"cgru_config": own}))
    words = ("run", "j.json", "--config", "c.json", "--no-progress", "--report", "r.json")
    code, _, err = await run_command(*words, home=tmp_path)
    assert code == 0
    (task,) = json.loads((tmp_path / "r.json").read_text())["tasks"]
    file = str(tmp_path / "a.png")
    assert f"no thumbnail: cannot read {file}: Not a PNG file" in task["log"]
    expected = [each.format(file=file) for each in warnings]
    found = [f"{why['event']}: {why['text']}" for why in task["why"] if why["event"] == "image"]
    assert found == expected
    assert all(each.removeprefix("image: ") in err for each in expected), err


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("sheet.gif", r"--sheet .*sheet.gif: the name must end in .png, .jpg, .jpeg"),
        ("folder.png", "--sheet .*: this is a folder, give a file name"),
        ("nowhere/a.png", "--sheet .*: the folder .*nowhere is missing or not writable"),
    ],
)
def test_a_sheet_that_cannot_be_written_is_reported_before_the_job(
    tmp_path: Path, name: str, sentence: str
) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ConfigError, match=sentence):
        check_sheet(str(tmp_path / name))


def test_a_sheet_needs_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_afrender.cli.job_contact_sheet.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match='needs OpenImageIO; install the extra "thumbnails": '):
        check_sheet(str(tmp_path / "a.png"))


def test_a_thumbnail_that_has_vanished_costs_only_its_cell(tmp_path: Path) -> None:
    cell = {"label": "1", "image": str(tmp_path / "gone.jpg"), "trouble": ""}
    sheet = tmp_path / "sheet.png"
    make_sheet({"file": str(sheet), "title": "t", "note": "n", "cells": [cell]})
    assert sheet.stat().st_size


def test_cells() -> None:
    texts: Any = None
    task = TaskView(
        job=1, block=0, task=0, name="1", block_name="b", service="generic", state="done",
        files=(Path("/f/a.exr.jpg"), Path("/f/notes.txt"), Path("/f/b.png")), attempt=0, texts=texts,
    )  # fmt: skip
    failed = attrs.evolve(task, state="error", files=())
    waiting = attrs.evolve(task, state="waiting", files=())
    view = JobView(
        id=1, name="j", user_name="u", state="error", counts={}, tasks=(task, failed, waiting)
    )
    assert list_cells(view) == [
        {"label": "a.exr", "image": "/f/a.exr.jpg"},
        {"label": "b.png", "image": "/f/b.png"},
        {"label": "b / 1", "image": "", "trouble": "error"},
    ]


@pytest.mark.parametrize("count", [1, 2, 7, 50, MAX_CELLS])
@pytest.mark.parametrize(("wide", "high"), [(178, 100), (80, 400), (2160 * 4, 540)])
def test_grids(count: int, wide: int, high: int) -> None:
    grid = make_grid(count, wide, high)
    assert grid.columns * grid.rows >= count
    assert grid.columns * (grid.rows - 1) < count
    assert grid.width <= MAX_SHEET_WIDTH
    left, top = grid.corner(count - 1)
    assert left + wide <= grid.width
    assert top + high < grid.height
    if count == 50 and wide == 178:
        assert 1.2 < grid.width / grid.height < 2.0


def test_labels_keep_their_ends() -> None:
    assert fit_text("beauty.0001.exr", 12, 1000, FontChoice()) == "beauty.0001.exr"
    short = fit_text("a_very_long_name_of_a_shot_" * 5 + "beauty.0001.exr", 12, 178, FontChoice())
    assert short.startswith("a_very")
    assert short.endswith(".0001.exr")
    assert "..." in short
    assert fit_text("a\nb\x1b[31m", 12, 1000, FontChoice()) == "a b [31m"
    assert fit_text("wide", 12, 0, FontChoice()) == ""
