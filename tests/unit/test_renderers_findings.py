"""The program that renders with real programs: what it calls wrong, its test data, its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
from renderers.experiment import Expected, Experiment, Finding, compare
from renderers.installed_programs import LeftOut, Program
from renderers.recorded_logs import clean_output
from renderers.renderers_page import Row, write_page

FOUND = Finding(
    state="error",
    why='setup: "no GPU" (line 2 of the output)',
    percent=33,
    curve=(0, 8, 33),
    frame=1,
    files=("f.0001.png",),
    flags=frozenset({"error"}),
    missing=(),
    report="no GPU",
    seconds=1.0,
    output="no GPU\n",
)
RIGHT = Expected(
    state="error",
    why="setup: ",
    mentions="no GPU",
    percent=33,
    curve=(33,),
    frame=1,
    files=("f.0001.png",),
    flags=frozenset({"error"}),
    report="GPU",
)
EXPERIMENT = Experiment(
    program="p", name="gpu", done="no GPU", parser="generic", command="true", expected=RIGHT
)


def test_nothing_is_wrong_with_what_is_expected() -> None:
    assert compare(RIGHT, FOUND) == []


@pytest.mark.parametrize(
    ("name", "value", "begin"),
    [
        ("state", "done", "state is 'error'"),
        ("why", "crash: ", "why is 'setup"),
        ("mentions", "no disk", "why is 'setup"),
        ("percent", 100, "percent is 33"),
        ("curve", (33, 66), "percents are (0, 8, 33)"),
        ("frame", 2, "frame is 1"),
        ("files", (), "files is ('f.0001.png',)"),
        ("flags", frozenset[str](), "flags is ['error']"),
        ("missing", ("a.png",), "missing assets is ()"),
        ("report", "licence", "report is 'no GPU'"),
    ],
)
def test_each_difference_is_named(name: str, value: object, begin: str) -> None:
    changed: dict[str, Any] = {name: value}
    (problem,) = compare(attrs.evolve(RIGHT, **changed), FOUND)
    assert problem.startswith(begin)


def test_paths_of_this_machine_are_replaced() -> None:
    folder, programs = Path("/place/programs/work/p/gpu"), Path("/place/programs")
    output = (
        f"Saved: '{folder}/out/f.0001.png'\n"
        f"{Path.home()}/.povray and {programs}/debian/root/usr and {programs}/mitsuba\n"
        "[enc @ 0x7f12ab] failed\n"
        "Fra:1 Mem:9M | Updating Mesh\n"
    )
    assert clean_output(output, folder, programs) == (
        "Saved: 'out/f.0001.png'\n"
        "/home/artist/.povray and /usr and /opt/programs/mitsuba\n"
        "[enc @ 0x55d0c0ffee00] failed\n"
    )


def test_the_page_has_each_result(tmp_path: Path) -> None:
    rows = [
        Row(experiment=EXPERIMENT, found=FOUND, wrong=()),
        Row(experiment=EXPERIMENT, found=FOUND, wrong=("percent is 33",)),
        Row(experiment=EXPERIMENT, found=None, wrong=("no answer",)),
    ]
    program = Program(key="p", title="P", version="1.2", command="p")
    left_out = LeftOut(key="q", title="Q", reason="there is no apt-get")
    page = tmp_path / "page.md"
    write_page(page, rows, [program], [left_out])
    text = page.read_text(encoding="utf-8")
    assert "| P | 1.2 | 1 of 3 |" in text
    assert "| Q | left out: there is no apt-get | |" in text
    assert (
        '| gpu | no GPU | error; setup: "no GPU" (line 2 of the output) | 0, 8, 33 | 1 | right |'
        in text
    )
    assert "| **wrong**: percent is 33 |" in text
    assert "| the agent failed | | | **wrong**: no answer |" in " ".join(text.split())
