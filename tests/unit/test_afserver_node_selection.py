"""Which nodes the words of a command line select."""

from __future__ import annotations

import pytest

from trio_afrender.afserver.node_selection import select_nodes, select_tasks
from trio_afrender.afserver.remote_nodes import JobNode, RenderNode, read_job, read_render


def render(number: int, name: str) -> RenderNode:
    return read_render({"id": number, "name": name}, {})


def job(number: int, name: str, *blocks: tuple[str, int]) -> JobNode:
    listed = [{"name": block, "tasks_num": count} for block, count in blocks]
    return read_job({"id": number, "name": name, "blocks": listed})


RENDERS = [render(1, "r0427"), render(2, "r0428"), render(3, "render-a"), render(4, "2")]
JOBS = [
    job(2, "shot", ("render", 10), ("comp", 1)),
    job(3, "shot.v2", ("render", 4)),
    job(7, "3", ("b.c", 2)),
    job(9, "shot", ("x", 1)),
]


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (["r0427"], [1]),
        (["r04*"], [1, 2]),
        (["r042[78]", "render-?", "r0427"], [1, 2, 3]),
        (["1", "3"], [1, 3]),
        (["2"], [4]),  # a name counts before an id
    ],
)
def test_renders(words: list[str], ids: list[int]) -> None:
    found, problems = select_nodes(RENDERS, words, "render")
    assert [each.id for each in found] == ids
    assert problems == []


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("r0429", 'no render "r0429", did you mean "r0428"?'),
        ("zzz", 'no render "zzz"'),
        ("x*", 'no render matches "x*"; there are 4'),
        ("77", 'no render "77"'),
        ("-1", 'no render "-1"'),
        ("1" * 30, f'no render "{"1" * 30}"'),
    ],
)
def test_what_selects_nothing_is_named(word: str, problem: str) -> None:
    found, [sentence] = select_nodes(RENDERS, [word, "r0427"], "render")
    assert [each.id for each in found] == [1]
    assert sentence.startswith(problem)


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("2", ["2.0", "2.1"]),
        ("2.0", ["2.0"]),
        ("2.comp", ["2.1"]),
        ("2.c*", ["2.1"]),
        ("2.0.9", ["2.0.9"]),
        ("2.0.3-5", ["2.0.3-5"]),
        ("shot.v2", ["3.0"]),
        ("shot.v2.0.1", ["3.0.1"]),
        ("shot*.render", ["2.0", "3.0"]),
        ("3", ["7.0"]),
        ("shot.x", ["9.0"]),
    ],
)
def test_blocks_and_tasks(word: str, names: list[str]) -> None:
    found, problems = select_tasks(JOBS, [word])
    assert [each.name for each in found] == names
    assert problems == []


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("2.5", '2.5: no block "5" of job 2; it has 0 "render", 1 "comp"'),
        ("2.0.5-1", "2.0.5-1: the range ends before it begins"),
        ("2.0.10", '2.0.10: block 0 "render" has 10 tasks, from 0'),
        ("2.0.5-3", "has 10 tasks"),
        ("2.0.-1", '"-1": expected the number of a task, or FIRST-LAST'),
        ("2.0.x", '"x": expected the number'),
        ("99.0.0", 'no job "99"'),
        ("shut", 'no job "shut", did you mean "shot"?'),
        ("", 'no job ""'),
    ],
)
def test_a_wrong_task_is_a_sentence(word: str, problem: str) -> None:
    found, [sentence] = select_tasks(JOBS, [word])
    assert found == []
    assert problem in sentence
