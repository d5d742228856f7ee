"""Tables that fit a terminal, and what they show of nodes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_afrender.afserver.remote_nodes import read_job, read_render, read_tasks
from trio_afrender.cli.node_tables import (
    age_text,
    job_object,
    jobs_table,
    render_object,
    renders_table,
    tasks_table,
)
from trio_afrender.cli.text_table import Cell, Column, Line, layout, width_of

COLUMNS = (
    Column(title="NAME", least=5, most=30),
    Column(title="N", right=True),
    Column(title="NOTE", rank=2, least=6),
    Column(title="X", rank=1),
)


def texts(lines: list[Line]) -> list[str]:
    return ["".join(part if isinstance(part, str) else part[0] for part in line) for line in lines]


def test_columns_are_aligned() -> None:
    rows: list[list[Cell]] = [["a", "1", "x", "y"], ["bbb", "100", [("re", "red"), "d"], ""]]
    assert texts(layout(COLUMNS, rows, 80)) == [
        "NAME    N  NOTE  X",
        "a       1  x     y",
        "bbb   100  red",
    ]


def test_columns_without_a_value_are_left_out() -> None:
    assert texts(layout(COLUMNS, [["a", "", "", ""]], 80)) == ["NAME  N", "a"]


def test_a_narrow_terminal_shortens_and_leaves_out() -> None:
    rows = [["a" * 20, "1", "n" * 20, "y"]]
    assert texts(layout(COLUMNS, rows, 30))[1] == f"{'a' * 10}…  1  {'n' * 10}…  y"
    assert texts(layout(COLUMNS, rows, 14))[1] == "aaaaaaa…  1  y"
    assert texts(layout(COLUMNS, rows, 8))[1] == "aaaa…  1"


def test_wide_letters_take_two_cells() -> None:
    assert width_of("日本a") == 5
    lines = texts(layout(COLUMNS, [["日本語" * 9, "1", "", ""]], 20))
    assert lines[1].endswith("…  1") or lines[1].endswith("…   1")
    assert width_of(lines[1]) <= 20


def test_controls_of_names_are_shown() -> None:
    [_, line] = texts(layout(COLUMNS, [["a\x1b[31m\nb", "", [("\x07", "red")], ""]], 80))
    assert line == r"a\x1b[31m\nb     \x07"


@given(
    st.lists(st.lists(st.text(max_size=50), min_size=4, max_size=4), max_size=5),
    st.integers(20, 200),
)
def test_no_line_is_wider_than_the_terminal(rows: list[list[str]], width: int) -> None:
    for line in texts(layout(COLUMNS, [[r[0], r[1][:5], *r[2:]] for r in rows], width)):
        # The two main columns at their least width are all that is left in the end.
        assert width_of(line) <= max(width, 5 + 2 + 30)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (59.9, "59s"), (60, "1m00s"), (250, "4m10s"), (7500, "2h05m"), (273_700, "3d04h")],
)
def test_ages(seconds: float, text: str) -> None:
    assert age_text(seconds) == text


RENDER = {
    "id": 1, "name": "r1", "st": 9, "user_name": "ann", "priority": 99, "capacity_used": 1000,
    "tasks_percents": [45], "idle_time": 950, "annotation": "note",
    "tasks": [{"job_id": 7, "block_num": 0, "task_num": 3, "name": "frame 4", "job_name": "shot",
               "time_start": 940}],
}  # fmt: skip
JOB = {
    "id": 7, "serial": 3, "name": "shot", "user_name": "ann", "st": 3, "priority": 50,
    "time_creation": 900, "time_started": 910,
    "blocks": [{"name": "b", "tasks_num": 8, "p_tasks_done": 4, "p_tasks_skipped": 1,
                "p_tasks_error": 1, "running_tasks_counter": 1, "p_percentage": 60,
                "p_avoid_hosts": 1, "flags": 1, "frame_first": 1, "frame_last": 8}],
}  # fmt: skip


def test_a_render() -> None:
    load = {"cpu_idle": 30, "mem_free_mb": 2048}
    render = read_render(RENDER, {})
    lines = texts(renders_table([render], {1: load}, 1000, 160))
    row = "r1 1 RUN ann 99 1/4 1000/1100 70% 2.0G 1m00s 7.0.3 shot/frame 4 45% note"
    assert " ".join(lines[1].split()) == row
    assert texts(renders_table([render], {1: load}, 1000, 60))[1].startswith("r1")
    offline = read_render({"id": 2, "name": "r2", "st": 0}, {})
    assert texts(renders_table([offline], {}, 1000, 160))[1].split() == ["r2", "2", "OFF", "0"]
    found = render_object(render, load)
    assert (found["name"], found["states"], found["resources"]) == ("r1", ["ONL", "RUN"], load)
    assert render_object(offline, {})["resources"] is None


def test_a_job() -> None:
    job = read_job(JOB)
    [_, line] = texts(jobs_table([job], 1000, 160))
    row = "7 shot ann RDY RUN 50 ######--!!>>.... 60% 4/8 1 1 1m40s 1m30s"
    assert " ".join(line.split()) == f"{row} 1 render avoided after errors"
    found = job_object(job)
    assert (found["tasks"], found["done"], found["skipped"], found["error"]) == (8, 4, 1, 1)
    empty = read_job({"id": 9, "name": "none"})
    assert texts(jobs_table([empty], 1000, 80))[1].split()[:2] == ["9", "none"]


def test_a_task() -> None:
    item = {"st": 2, "per": 50, "str": 2, "err": 1, "tst": 940, "tdn": 999, "hst": "r1", "act": "x"}
    [task] = read_tasks(read_job(JOB), [[item]])
    [_, line] = texts(tasks_table([task], 1000, 160))
    row = "7.0.0 b frame 1 RUN >>>>>>>>........ 50% r1 1m00s 2 1 x"
    assert " ".join(line.split()) == row
    assert task.to_json()["render"] == "r1"
