"""`trio_afrender check job`: errors of a file, what it would run, the schema."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
from support.agent_program import write_job
from support.cli import run_command


async def test_all_errors_of_a_file_are_printed(tmp_path: Path) -> None:
    job = write_job(tmp_path, "true", comand="x", parser=5, service="generic")
    code, out, err = await run_command("check", "job", "job.json", home=tmp_path)
    assert (code, err) == (2, "")
    assert out.splitlines() == [
        "job.json: blocks[0].parser: expected a text, found 5",
        'job.json: blocks[0].comand: unknown key, did you mean "command"?',
        "2 errors",
    ]
    code, out, _ = await run_command("check", "job", job, "--json", home=tmp_path)
    found = json.loads(out)
    assert code == 2
    assert (found["good"], [each["path"] for each in found["errors"]]) == (
        False,
        ["blocks[0].parser", "blocks[0].comand"],
    )
    code, _, err = await run_command("run", "job.json", home=tmp_path)
    assert code == 2
    assert err.splitlines() == [
        "trio_afrender: job.json: blocks[0].parser: expected a text, found 5",
        'trio_afrender: job.json: blocks[0].comand: unknown key, did you mean "command"?',
    ]
    code, _, err = await run_command("submit", "job.json", home=tmp_path)
    assert (code, "comand" in err) == (2, True)
    code, _, err = await run_command("farm", "job.json", home=tmp_path)
    assert (code, "comand" in err) == (2, True)


async def test_one_kind_of_error_hides_no_other(tmp_path: Path) -> None:
    blocks = [
        {"service": "blnder", "command": "x", "frame_first": 1, "frame_last": "a"},
        {"service": "mya", "comand": "x", "frame_frist": 1, "frame_last": "b"},
    ]
    (tmp_path / "job.json").write_text(json.dumps({"job": {"priorityy": 1, "blocks": blocks}}))
    code, out, _ = await run_command("check", "job", "job.json", home=tmp_path)
    assert code == 2
    assert out.splitlines() == [
        'job.json: blocks[0].frame_last: expected an integer, found "a"',
        "job.json: blocks[1].tasks: missing: a block needs tasks, or frame_first and frame_last",
        'job.json: blocks[1].frame_last: expected an integer, found "b"',
        'job.json: priorityy: unknown key, did you mean "priority"?',
        'job.json: blocks[1].comand: unknown key, did you mean "command"?',
        'job.json: blocks[1].frame_frist: unknown key, did you mean "frame_first"?',
        'job.json: blocks[0].service: no service "blnder", did you mean "blender"?',
        'job.json: blocks[1].service: no service "mya", did you mean "maya"?',
        "8 errors",
    ]
    (tmp_path / "job.json").write_text('{"job": {"priorityy": 1, "blocks": []}}')
    code, out, _ = await run_command("check", "job", "job.json", home=tmp_path)
    assert (code, len(out.splitlines())) == (2, 3)
    assert "priorityy" in out


async def test_a_good_file_prints_what_would_run(tmp_path: Path) -> None:
    write_job(tmp_path, "echo one", "echo two", parser="genric", files=["a.png"])
    code, out, _ = await run_command("check", "job", "job.json", home=tmp_path)
    assert code == 0
    assert 'warning: blocks[0].parser: no parser "genric", did you mean "generic"?' in out
    assert out.index("1 b / t0") < out.index("echo one") < out.index("2 b / t1")
    code, out, _ = await run_command("check", "job", "job.json", "--json", home=tmp_path)
    found = json.loads(out)
    assert code == 0
    assert (found["good"], found["errors"], len(found["warnings"])) == (True, [], 1)
    assert [(task["name"], task["command"], task["files"]) for task in found["tasks"]] == [
        ("t0", "echo one", ["a.png"]),
        ("t1", "echo two", ["a.png"]),
    ]


async def test_what_can_never_run_is_in_json(tmp_path: Path) -> None:
    write_job(tmp_path, "true", need_memory=10**9)
    code, out, _ = await run_command("check", "job", "job.json", "--json", home=tmp_path)
    found = json.loads(out)
    assert (code, found["good"], found["tasks"], found["left_out"]) == (1, False, [], 1)
    [never] = found["never"]
    assert never["block"] == 0
    assert "a task needs 1000000000 MiB" in never["reasons"][0]


async def test_the_schema_finds_what_is_wrong(tmp_path: Path) -> None:
    code, out, _ = await run_command("check", "job", "--schema", home=tmp_path)
    assert code == 0
    schema = json.loads(out)
    jsonschema.Draft202012Validator.check_schema(schema)
    checker = jsonschema.Draft202012Validator(schema)
    assert checker.is_valid(json.loads(write_job(tmp_path, "true").read_text()))
    wrong = write_job(tmp_path, "true", comand="x")
    assert not checker.is_valid(json.loads(wrong.read_text()))
    assert not checker.is_valid({"a": "file of something else"})


async def test_bad_usage_is_named(tmp_path: Path) -> None:
    for words, sentence in (
        ((), "give a job file, - for stdin, or --schema"),
        (("job.json", "--schema"), "--schema prints the schema of all jobs: give no file"),
        (("none.json",), "none.json: No such file or directory"),
    ):
        code, _, err = await run_command("check", "job", *words, home=tmp_path)
        assert (code, err) == (2, f"trio_afrender: {sentence}\n")
    code, out, _ = await run_command("check", "job", "none.json", "--json", home=tmp_path)
    assert (code, json.loads(out)["good"]) == (2, False)


async def test_other_keys_are_warnings(tmp_path: Path) -> None:
    write_job(tmp_path, "true", studio_note="x")
    code, out, _ = await run_command("check", "job", "job.json", home=tmp_path)
    assert code == 0
    assert "warning: blocks[0].studio_note: unknown key, it has no effect\n" in out
