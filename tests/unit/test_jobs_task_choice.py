"""Which tasks `run --only` and `run --only-failed` choose, and jobs of one command."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_afrender.errors import ConfigError
from trio_afrender.frame_ranges import first_common
from trio_afrender.jobs import task_choice
from trio_afrender.jobs.job_file import JobSpec, examine_job
from trio_afrender.jobs.quick_job import make_quick_job
from trio_afrender.jobs.task_choice import choose_by_name, choose_unfinished


def spec_of(data: object) -> JobSpec:
    spec, problems = examine_job(data)
    assert problems == ()
    assert spec is not None
    return spec


FRAMES = {"frame_first": 1, "frame_last": 20, "frames_per_task": 5, "frames_inc": 2}
SPEC = spec_of(
    {"blocks": [
        {"name": "render", **FRAMES},
        {"name": "a:1", "tasks": [{"name": "x"}, {}, {}]},
        {"name": "render", "tasks": [{}]},
    ]}
)  # fmt: skip


@pytest.mark.parametrize(
    ("words", "places"),
    [
        (["render"], [(0, 0), (0, 1), (2, 0)]),
        (["render:11"], [(0, 1)]),
        (["render:9-11"], [(0, 0), (0, 1)]),
        (["render:0"], [(2, 0)]),
        (["a:1"], [(1, 0), (1, 1), (1, 2)]),
        (["a:1:2,0"], [(1, 0), (1, 2)]),
        (["render:19", "a:1:1"], [(0, 1), (1, 1)]),
    ],
)
def test_words_choose(words: list[str], places: list[tuple[int, int]]) -> None:
    assert sorted(choose_by_name(SPEC, words)) == places


@given(
    st.integers(-5, 5),
    st.integers(0, 40),
    st.integers(1, 9),
    st.integers(1, 4),
    st.tuples(st.integers(-9, 50), st.integers(0, 50), st.integers(1, 9)),
    st.booleans(),
)
def test_frames_choose_the_tasks_that_have_them(
    first: int, more: int, per_task: int, inc: int, asked: tuple[int, int, int], listed: bool
) -> None:
    block: dict[str, Any] = {"name": "b", "tasks": [{}] * (more + 1)}
    if not listed:
        frames = {"frame_first": first, "frame_last": first + more, "frames_inc": inc}
        block = {"name": "b", "frames_per_task": per_task, **frames}
    spec = spec_of({"blocks": [block]})
    start, length, step = asked
    wanted = range(start, start + length + 1, step)

    def has_any(task: int) -> bool:
        own_first, own_last, _ = (task, task, 1) if listed else spec.blocks[0].frames(task)
        return any(frame in wanted for frame in range(own_first, own_last + 1, inc))

    places = {(0, task) for task in range(spec.blocks[0].task_count) if has_any(task)}
    try:
        found = choose_by_name(spec, [f"b:{start}-{start + length}/{step}"])
    except ConfigError:
        found = frozenset()
    assert found == places


def test_many_frames_of_a_large_job_are_found_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of 1000 ranges was compared with each of 200,000 tasks, which took minutes."""
    spec = spec_of({"blocks": [{"name": "b", "frame_first": 1, "frame_last": 200_000}]})
    word = "b:" + ",".join(str(199 * number + 1) for number in range(1000))
    calls = []

    def count(one: range, other: range) -> int | None:
        calls.append(other)
        return first_common(one, other)

    monkeypatch.setattr(task_choice, "first_common", count)
    assert len(choose_by_name(spec, [word])) == 1000
    assert len(calls) == 1000


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("rendr", '--only rendr: the job has no block "rendr", did you mean "render"?'),
        ("rendr:5", '--only rendr:5: the job has no block "rendr", did you mean "render"?'),
        ("zzz", 'the job has no block "zzz": it has "render", "a:1", "render"'),
        ("render:x", '--only render:x: "x" is no frame'),
        ("render:12", '--only render:12: the block "render" has frames 1 to 20'),
        ("a:1:9", '--only a:1:9: the block "a:1" has tasks 0 to 2'),
    ],
)
def test_words_that_choose_nothing_are_named(word: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(problem)):
        choose_by_name(SPEC, [word])


def report_of(*states: str) -> dict[str, Any]:
    places = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 0)]
    return {
        "tasks": [
            {"block": b, "task": t, "name": SPEC.blocks[b].task_name(t), "state": state}
            for (b, t), state in zip(places, states, strict=True)
        ]
    }


def test_a_report_chooses_what_is_not_done() -> None:
    report = report_of("done", "error", "skipped", "killed", "running", "done")
    assert sorted(choose_unfinished(SPEC, report, "r.json")) == [(0, 1), (1, 1), (1, 2)]
    assert choose_unfinished(SPEC, report_of(*["done"] * 6), "r.json") == frozenset()


def test_a_report_of_another_job_is_refused() -> None:
    good = report_of(*["error"] * 6)
    renamed = {"tasks": [{**task, "name": "other"} for task in good["tasks"]]}
    moved = {
        "tasks": [
            {**task, "block": 9 if task["block"] == 2 else task["block"]} for task in good["tasks"]
        ]
    }
    twice = {"tasks": [good["tasks"][0]] * 6}
    for report, problem in (
        ([], "not a report of a run: it has no list of tasks"),
        ({"tasks": [1]}, "not a report of a run: it has no list of tasks"),
        ({"tasks": []}, "a report of another job: it has 0 tasks, the job has 6"),
        ({"tasks": [{}] * 6}, "not a report of a run: {}"),
        (twice, "not a report of a run: "),
        (renamed, 'a report of another job: task 0.0 is "other" there, "frame 1-9 / 2" here'),
        (moved, "a report of another job: this one has no task 9.0"),
    ):
        with pytest.raises(ConfigError, match=re.escape(f"r.json: {problem}")):
            choose_unfinished(SPEC, report, "r.json")


def test_a_command_with_one_range_is_one_block() -> None:
    made = make_quick_job(
        "A=1 /opt/render/render -f @#@", frames=[range(1, 10, 2)], per_task=2, folder="/f"
    )
    spec = spec_of(made)
    (block,) = spec.blocks
    assert (spec.name, block.name, block.working_directory) == ("render", "render", "/f")
    assert [block.task_name(task) for task in range(block.task_count)] == [
        "frame 1-3 / 2",
        "frame 5-7 / 2",
        "frame 9",
    ]


def test_a_command_with_several_ranges_has_a_block_for_each() -> None:
    frames = [range(1, 2), range(7, 10), range(20, 31, 5)]
    spec = spec_of(make_quick_job("r @#@", frames=frames, name="n", parser="p"))
    assert [(block.name, block.task_count) for block in spec.blocks] == [
        ("n 1", 1),
        ("n 7-9", 3),
        ("n 20-30/5", 3),
    ]
    assert {block.parser for block in spec.blocks} == {"p"}


def test_a_command_without_frames_is_one_task() -> None:
    spec = spec_of(make_quick_job("'make it"))
    assert spec.blocks[0].tasks[0].command == "'make it"
    assert spec.name == "'make"


@pytest.mark.parametrize(
    ("command", "frames", "problem"),
    [
        (" ", (), "the command is empty"),
        ("render", (range(2),), "no @#@ for the frame number"),
        ("render @###@", (), "give --frames, too"),
    ],
)
def test_commands_that_do_not_fit_are_named(
    command: str, frames: tuple[range, ...], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        make_quick_job(command, frames=frames)
