"""Jobs that cannot run as a whole or in part: the fault is reported, everything else runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.cli import run_command
from support.loopback_farm import block, open_loopback_farm, reasons, stored

TASKS: list[object] = [{"name": "t", "command": "echo done"}]


def job(*blocks: dict[str, object], **fields: object) -> str:
    return json.dumps({"job": {"name": "j", "blocks": list(blocks), **fields}})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "trio_afrender: job.json: No such file or directory"),
        (
            '{"job": {\n"name" "x"}}',
            "trio_afrender: job.json: not JSON: Expecting ':' delimiter (line 2, column 8)",
        ),
        (
            job(
                {"tasks": TASKS},
                {"flags": 1, "frame_first": 1, "frame_last": 9, "frames_per_task": "two"},
            ),
            'trio_afrender: job.json: blocks[1].frames_per_task: expected an integer, found "two"',
        ),
        (
            job({"tasks": TASKS}, {"tasks": TASKS, "service": "blendr"}),
            'trio_afrender: job.json: blocks[1].service: no service "blendr", did you mean "blender"?',
        ),
    ],
)
async def test_an_invalid_job_file_is_refused_before_any_file_is_made(
    tmp_path: Path, text: str | None, sentence: str
) -> None:
    if text is not None:
        (tmp_path / "job.json").write_text(text)
    words = ("run", "job.json", "--store", "store", "--report", "report.json")
    code, out, err = await run_command(*words, home=tmp_path)
    assert (code, out, err) == (2, "", f"{sentence}\n")
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "report.json").exists()
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize(
    ("bad", "status", "sentences"),
    [
        (block("echo never", service="blendr"), 23, ['no service "blendr", did you mean "blender"?']),
        (block(""), 23, ["the command is empty"]),
        (block(" \t\n"), 23, ["the command is empty"]),
        (
            block("echo never", working_directory="/srv/show/shot"),
            23,
            ["working folder /net/show/shot (the server's /srv/show/shot) is missing"],
        ),
        (
            block("echo never", working_directory="/elsewhere"),
            23,
            ["working folder /elsewhere is missing or cannot be entered"],
        ),
        (block("echo never", working_directory="/etc/passwd"), 23, ["working folder /etc/passwd is missing"]),
        (
            block("echo before; no-such-renderer -x"),
            6,
            ["exit code 127: the shell did not find the command"],
        ),
        (
            block("echo before; /etc/passwd"),
            6,
            ["exit code 126: the shell found the command but may not execute it"],
        ),
    ],
)  # fmt: skip
async def test_a_task_that_cannot_run_reports_why_and_the_others_run(
    tmp_path: Path, bad: dict[str, object], status: int, sentences: list[str]
) -> None:
    """Without another folder or service instead: no part of the command runs."""
    async with open_loopback_farm(tmp_path) as loopback:
        await loopback.agent(paths_map=(("/net/show", "/srv/show"),))
        done = await loopback.run(bad, block("echo beside", name="beside"))
        failed, beside = done.tasks
        assert (failed.state, failed.status, failed.attempts) == ("error", status, 1)
        for sentence in sentences:
            assert sentence in reasons(failed)
            assert sentence in failed.log
        assert (beside.state, beside.output) == ("done", "beside\n")
        if status == 6:
            assert stored(tmp_path / "farm", failed).startswith(b"before\n")
        else:
            assert (failed.exit_code, failed.output) == (None, "")
        await loopback.check_alive()


async def test_fields_without_effect_are_listed_on_stderr_and_the_job_runs(
    tmp_path: Path,
) -> None:
    (tmp_path / "job.json").write_text(
        job(
            {
                "tasks": [*TASKS, {"command": "echo two", "depend_mask": "x"}],
                "tickets": {"nuke": 1},
            },
            {"tasks": TASKS, "flags": 4},
            time_life=9,
            pools={"/local": 50},
        )
    )
    code, out, err = await run_command("run", "job.json", "--report", "-", home=tmp_path)
    assert code == 0
    assert [task["state"] for task in json.loads(out)["tasks"]] == ["done"] * 3
    warnings = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert warnings == [
        "warning: time_life has no effect here",
        "warning: pools has no effect here",
        "warning: blocks[0].tickets has no effect here",
        "warning: blocks[0].tasks[].depend_mask has no effect here",
        "warning: blocks[1].flags (MULTIHOST) has no effect here",
    ]
