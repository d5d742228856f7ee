"""Each job of `examples/`, run as its page describes."""

from __future__ import annotations

import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import trio
from support.cli import run_command

EXAMPLES = Path(__file__).parents[2] / "examples"


async def run_example(name: str, home: Path, *words: str) -> tuple[int, dict[str, list[str]], str]:
    """Run a job; return the exit code, the states of tasks by block, and stderr."""
    report = home / "report.json"
    code, out, err = await run_command(
        "run", EXAMPLES / name, "--report", report, *words, home=home
    )
    assert out == ""
    job = json.loads((EXAMPLES / name).read_text())["job"]
    states: dict[str, list[str]] = {block["name"]: [] for block in job["blocks"]}
    for task in json.loads(report.read_text())["tasks"]:
        states[job["blocks"][task["block"]]["name"]].append(task["state"])
    return code, states, err


def outputs(home: Path) -> list[str]:
    return [task["output"] for task in json.loads((home / "report.json").read_text())["tasks"]]


def starts_with(path: Path, magic: bytes) -> bool:
    return path.read_bytes().startswith(magic)


async def test_shell(tmp_path: Path) -> None:
    code, states, _ = await run_example("shell.json", tmp_path)
    assert (code, states) == (0, {"words": ["done", "done"], "after": ["done"]})
    world, moon, last = outputs(tmp_path)
    assert world.endswith("hello, world\n")
    assert moon.endswith("good night, moon\n")
    assert last.startswith("all words are printed\n")


async def test_numeric(tmp_path: Path) -> None:
    code, states, _ = await run_example("numeric.json", tmp_path)
    assert (code, states) == (0, {"frames": ["done"] * 4})
    frames = [re.findall(r"^FRAME: (\d+)", output, re.MULTILINE) for output in outputs(tmp_path)]
    assert frames == [
        ["1", "3", "5", "7"],
        ["9", "11", "13", "15"],
        ["17", "19", "21", "23"],
        ["25"],
    ]
    assert "image.0025.txt" in outputs(tmp_path)[3]


async def test_tiny200(tmp_path: Path) -> None:
    code, states, err = await run_example("tiny200.json", tmp_path, "--no-progress")
    assert (code, states) == (0, {"tiny": ["done"] * 200})
    assert outputs(tmp_path) == [f"tiny {number}\n" for number in range(1, 201)]
    assert "tasks: 200 done" in err


async def test_failing(tmp_path: Path) -> None:
    code, states, err = await run_example("failing.json", tmp_path)
    assert code == 1
    assert states == {
        "mixed": ["done", "error", "error", "error"],
        "no folder": ["error"],
        "never": ["killed"],
    }
    scene = '"cannot find the scene file" (line 1 of the output); exit code 3'
    assert f"failed: mixed / exit code: missing-asset: {scene}, 1 try" in err
    assert "why: the parser saw an error" in err
    assert "1 done, 4 error, 1 not run" in err


@pytest.mark.skipif(find_spec("mitsuba") is None, reason="no Mitsuba here: make demo installs it")
async def test_cornell_renders_frames_and_films_them(tmp_path: Path) -> None:
    """The demo with six frames instead of two dozen."""
    words = ["--frames", "6", "--size", "32", "--samples", "4", "--output", str(tmp_path / "out")]
    made = await trio.run_process(
        [sys.executable, str(EXAMPLES / "cornell" / "submit.py"), *words], capture_stdout=True
    )
    (tmp_path / "job.json").write_bytes(made.stdout)
    report = tmp_path / "report.json"
    code, _, err = await run_command(
        "run", tmp_path / "job.json", "--agents", "2", "--report", report, home=tmp_path
    )
    assert code == 0, err
    tasks = json.loads(report.read_text())["tasks"]
    assert [task["state"] for task in tasks] == ["done"] * 8
    assert [task["percent"] for task in tasks] == [100] * 8
    for task in tasks[:6]:
        [thumbnail] = task["files"]
        assert starts_with(Path(thumbnail), b"\xff\xd8")
    assert all(
        (tmp_path / "out" / f"cornell.{n:04d}.exr").stat().st_size > 1000 for n in range(1, 7)
    )
    assert (tmp_path / "out" / "cornell.mp4").read_bytes()[4:8] == b"ftyp"
    assert (tmp_path / "out" / "contact.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_of_examples_names_each_job() -> None:
    page = (EXAMPLES / "README.md").read_text()
    jobs = [path.name for path in EXAMPLES.glob("*.json")]
    assert len(jobs) == 4
    assert all(f"`{name}`" in page for name in jobs)
