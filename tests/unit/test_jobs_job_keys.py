"""The table of keys, the parser, the schema and the page agree; wrong spellings are found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import jsonschema
import pytest
from support.job_page import PAGE, make_tables

from trio_afrender.errors import JobError
from trio_afrender.jobs.job_file import (
    _BLOCK_UNHONOURED,
    _JOB_UNHONOURED,
    _TASK_UNHONOURED,
    examine_job,
    parse_job,
)
from trio_afrender.jobs.job_keys import (
    BLOCK_KEYS,
    JOB_KEYS,
    TASK_KEYS,
    Effect,
    JobKey,
    ValueKind,
    find_unknown_keys,
)
from trio_afrender.jobs.job_schema import make_job_schema
from trio_afrender.jobs.job_spec import BlockSpec, HostNeeds, JobSpec, TaskSpec

ROOT = Path(__file__).resolve().parents[2]
FILES = [
    *sorted((ROOT / "tests/data/jobs").glob("*.json")),
    *sorted((ROOT / "examples").glob("*.json")),
]
FRAMES = ("frame_first", "frame_last")
CHECKER = jsonschema.Draft202012Validator(make_job_schema())
SPELLINGS = {"ignorenimby": "ignore_nimby", "ignorepaused": "ignore_paused"}


def wrap(level: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """A job with these keys in a job, a block or a task."""
    task: dict[str, Any] = {"command": "true"}
    block: dict[str, Any] = {"tasks": [task]}
    job: dict[str, Any] = {"blocks": [block]}
    {"job": job, "block": block, "task": task}[level].update(fields)
    return {"job": job}


def make_example(level: str, key: JobKey) -> dict[str, Any]:
    """A job with the example of a key."""
    fields = {key.name: json.loads(json.dumps(key.example))}
    if key.name in (*FRAMES, "flags", "numeric"):
        return {"job": {"blocks": [{"frame_first": 1, "frame_last": 200, **fields}]}}
    return wrap(level, fields)


LEVELS = {"job": JOB_KEYS, "block": BLOCK_KEYS, "task": TASK_KEYS}
PREFIXES = {"job": "", "block": "blocks[0].", "task": "blocks[0].tasks[0]."}
CHECKED = [
    (level, key)
    for level, keys in LEVELS.items()
    for key in keys
    if key.effect is not Effect.SERVER and key.name not in ("cmd_pre", "cmd_post")
]
NAMED = [f"{level}-{key.name}" for level, key in CHECKED]


@pytest.mark.parametrize(("level", "key"), CHECKED, ids=NAMED)
def test_the_parser_reads_each_key_with_its_type(level: str, key: JobKey) -> None:
    wrong = 1.5 if key.kind is not ValueKind.NUMBER else "1"
    data = wrap(level, {key.name: wrong})
    if key.name in FRAMES:
        data = {"job": {"blocks": [{"frame_first": 1, "frame_last": 2, key.name: wrong}]}}
    with pytest.raises(JobError) as caught:
        parse_job(data)
    assert caught.value.path == PREFIXES[level] + key.name
    assert not CHECKER.is_valid(data)


@pytest.mark.parametrize(("level", "key"), CHECKED, ids=NAMED)
def test_the_examples_are_valid_and_have_an_effect(level: str, key: JobKey) -> None:
    data = make_example(level, key)
    spec, problems = examine_job(data)
    assert problems == ()
    CHECKER.validate(data)
    assert spec is not None
    plain = parse_job(wrap(level, {}))
    # A text of a server may be empty; frames and old flags of a block with tasks change nothing.
    if key.example and key.name not in FRAMES:
        assert attrs.evolve(spec, notes=()) != plain


@pytest.mark.parametrize(("level", "key"), CHECKED, ids=NAMED)
def test_the_defaults_are_those_of_the_specification(level: str, key: JobKey) -> None:
    if key.effect is Effect.OLD or key.kind is ValueKind.OBJECTS:
        return
    spec = parse_job(wrap(level, {}))
    places: dict[str, JobSpec | BlockSpec | TaskSpec | HostNeeds] = {
        "job": spec,
        "block": spec.blocks[0],
        "task": spec.blocks[0].tasks[0],
    }
    place = places[level]
    name = SPELLINGS.get(key.name, key.name)
    if not hasattr(place, name):
        assert isinstance(place, JobSpec | BlockSpec)
        place = place.needs
    if name != "command":  # which a task here has
        assert getattr(place, name) == key.default


@pytest.mark.parametrize(("level", "key"), CHECKED, ids=NAMED)
def test_the_effects_are_those_of_the_specification(level: str, key: JobKey) -> None:
    data = make_example(level, key)
    path = PREFIXES[level] + key.name
    spec = parse_job(data)
    assert path not in spec.unhonoured
    assert (path in spec.unattended().unhonoured) == (key.effect is Effect.UNATTENDED)


def test_keys_without_an_effect_are_declared_as_those_of_servers() -> None:
    lists = {"job": _JOB_UNHONOURED, "block": _BLOCK_UNHONOURED, "task": _TASK_UNHONOURED}
    for level, names in lists.items():
        keys = {key.name: key for key in LEVELS[level]}
        for name in names:
            assert keys[name].effect in (Effect.SERVER, Effect.OLD), (level, name)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_jobs_of_servers_and_examples_have_no_unknown_keys(path: Path) -> None:
    data = json.loads(path.read_text(encoding="utf-8"), strict=False)
    job = data.get("job") or (data.get("jobs") or [data])[0]
    unknown = find_unknown_keys(job)
    assert (unknown.errors, unknown.warnings) == ((), ())
    if path.name != "stored.json":  # its tasks are in another file
        CHECKER.validate(data)


@pytest.mark.parametrize(
    ("level", "name", "near"),
    [
        ("block", "comand", "command"),
        ("block", "parsr", "parser"),
        ("block", "frame_frist", "frame_first"),
        ("block", "Command", "command"),
        ("job", "prioritty", "priority"),
        ("task", "comand", "command"),
    ],
)
def test_wrong_spellings_are_errors(level: str, name: str, near: str) -> None:
    data = wrap(level, {name: "x"})
    spec, (error,) = examine_job(data)
    assert spec is None
    assert str(error) == f'{PREFIXES[level]}{name}: unknown key, did you mean "{near}"?'
    assert parse_job(data).notes == ()  # a server's clients may send what they want
    assert not CHECKER.is_valid(data)


def test_other_keys_are_warnings_once() -> None:
    spec, problems = examine_job(wrap("block", {"studio": 1, "prior": 1, "_why": "x", "//": "y"}))
    assert problems == ()
    assert spec is not None
    assert spec.notes == (
        "blocks[0].studio: unknown key, it has no effect",
        "blocks[0].prior: unknown key, it has no effect",
    )
    many = {"job": {"blocks": [{"tasks": [{"x": 1}] * 5000}]}}
    spec, _ = examine_job(many)
    assert spec is not None
    assert len(spec.notes) == 1000


def test_all_errors_come_at_once() -> None:
    blocks: list[object] = [
        {"name": 5, "comand": "x", "frame_first": "1", "frame_last": 9, "hosts_mask": "("},
        7,
        {"tasks": [{"command": 1}, "x", {"files": ["a", 2]}], "environment": {"A": 1}},
        {"flags": -1, "frame_first": 5, "frame_last": 1, "frames_per_task": 0},
        {},
    ]
    spec, problems = examine_job({"job": {"priority": "high", "blocks": blocks}})
    assert spec is None
    assert [error.path for error in problems] == [
        "blocks[0].frame_first",
        "blocks[0].name",
        "blocks[0].hosts_mask",
        "blocks[1]",
        "blocks[2].tasks[0].command",
        "blocks[2].tasks[1]",
        "blocks[2].tasks[2].files[1]",
        "blocks[2].environment.A",
        "blocks[3].flags",
        "blocks[3].frames_per_task",
        "blocks[3].frame_last",
        "blocks[4].tasks",
        "priority",
        "blocks[0].comand",
    ]
    assert len(examine_job({"job": {"blocks": [{"tasks": [1] * 3000}]}})[1]) == 1000


@pytest.mark.parametrize(
    ("data", "path"),
    [([], ""), ({}, "job"), ({"job": {}}, "blocks"), ({"job": {"blocks": []}}, "blocks")],
)
def test_what_is_no_job_is_one_error(data: object, path: str) -> None:
    _, (error,) = examine_job(data)
    assert error.path == path
    assert not CHECKER.is_valid(data)


def test_the_page_has_the_tables_of_the_declarations() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for table in make_tables().values():
        assert table in text, "run python tests/support/job_page.py"
