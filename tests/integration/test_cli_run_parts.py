"""`run` of parts of a job, of a job from stdin and of a command; what it would run; what tasks print."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.agent_program import write_job
from support.cli import make_environment, make_gate, open_command, open_gate, run_command

from trio_afrender.cli.task_output import OutputLines, keep_some


def tasks_of(report: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(report.read_text())["tasks"]
    return found


def write_blocks(folder: Path, *blocks: Mapping[str, object]) -> Path:
    path = folder / "job.json"
    path.write_text(json.dumps({"job": {"name": "j", "blocks": list(blocks)}}))
    return path


async def test_only_some_tasks_run_and_are_shown(tmp_path: Path) -> None:
    first = {"name": "sim", "command": "echo @#@", "frame_first": 1, "frame_last": 4}
    second = {"name": "render", "depend_mask": "sim", "tasks": [{"command": "true"}]}
    job, report = write_blocks(tmp_path, first, second), tmp_path / "r.json"
    words = ("run", job, "--only", "sim:2-3", "--only", "render", "--report", report)
    code, _, err = await run_command(*words, home=tmp_path)
    assert code == 0
    assert [task["state"] for task in tasks_of(report)] == [
        "skipped", "done", "done", "skipped", "done",
    ]  # fmt: skip
    assert "[3/3] render / task 0: done" in err
    assert 'job "j": done in' in err
    assert "tasks: 3 done" in err
    assert "skipped" not in err


async def test_only_what_failed_runs_again(tmp_path: Path) -> None:
    mark, report = tmp_path / "mark", tmp_path / "r.json"
    job = write_job(tmp_path, "echo one", f"test -e {mark}", "echo three")
    words = ("run", job, "--retries", "0", "--report", report)
    assert (await run_command(*words, home=tmp_path))[0] == 1
    mark.touch()
    again = (*words, "--only-failed", report)
    assert (await run_command(*again, home=tmp_path))[0] == 0
    assert [(task["state"], task["attempts"]) for task in tasks_of(report)] == [
        ("skipped", 0),
        ("done", 1),
        ("skipped", 0),
    ]
    code, _, err = await run_command(*again, home=tmp_path)
    assert (code, err) == (0, f"nothing to run: all chosen tasks are done in {report}\n")


async def test_a_choice_that_is_wrong_is_named(tmp_path: Path) -> None:
    job = write_job(tmp_path, "true")
    (tmp_path / "list.json").write_text("[]")
    for words, sentence in (
        (("--only", "c"), '--only c: the job has no block "c"'),
        (("--follow", "bb"), '--follow bb: the job has no block "bb", did you mean "b"?'),
        (("--only-failed", "no.json"), "no.json: No such file or directory"),
        (("--only-failed", "list.json"), "list.json: not a report of a run"),
        (("--only-failed", "job.json"), "job.json: not a report of a run"),
        (("--frames", "1-3"), "--frames is for a command (-c)"),
        (("-c", "true"), "give a job file, or a command with -c, not both"),
    ):
        code, _, err = await run_command("run", job, *words, home=tmp_path)
        assert code == 2
        assert sentence in err
        assert err.count("\n") == 1
    for word in ("1-3,2", "5-1", "x"):
        code, _, err = await run_command("run", "-c", "x @#@", "--frames", word, home=tmp_path)
        assert code == 2
        assert "argument --frames: " in err


async def test_a_dry_run_prints_what_would_run_and_runs_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    first = {"name": "a", "depend_mask": "b", "tasks": [{"name": "x", "command": f"touch {mark}"}]}
    second = {
        "name": "b", "command": "render -f @###@", "frame_first": 1, "frame_last": 30,
        "files": ["/proj/out.@####@.exr"], "working_directory": "/proj/work",
    }  # fmt: skip
    job = write_blocks(tmp_path, first, second)
    config = tmp_path / "c.json"
    config.write_text('{"cgru_config": {"pathsmap": [["/mnt/local", "/proj"]]}}')
    words = ("run", job, "--dry-run", "--config", config)
    code, out, err = await run_command(*words, home=tmp_path)
    assert (code, err) == (0, "")
    assert 'job "j": 2 blocks, 31 tasks would run' in out
    lines = [line.strip() for line in out.splitlines()]
    assert lines.index("1 b / frame 1") < lines.index("20 b / frame 20")
    assert lines.index("20 b / frame 20") < lines.index("... 10 more tasks of b")
    assert lines.index("... 10 more tasks of b") < lines.index("31 a / x")
    assert "render -f 003" in lines
    assert "file /mnt/local/out.0003.exr" in lines
    assert "in /mnt/local/work (does not exist now)" in lines
    assert not mark.exists()
    code, out, _ = await run_command(*words, "--only", "b:7", home=tmp_path)
    assert (code, out.count("render -f")) == (0, 1)


async def test_a_dry_run_names_what_cannot_run(tmp_path: Path) -> None:
    never = {"name": "never", "hosts_mask": "other", "tasks": [{"command": "true"}]}
    empty = {"name": "empty", "tasks": [{"command": ""}]}
    after = {"name": "after", "depend_mask": "never", "tasks": [{"command": "true"}]}
    job = write_blocks(tmp_path, never, empty, after)
    code, out, _ = await run_command("run", job, "--dry-run", home=tmp_path)
    assert code == 1
    assert "the command is empty: the task would fail to start" in out
    assert 'can never run here: block "never"' in out
    assert "2 tasks do not run" in out


def test_a_job_comes_from_stdin(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    block = {"name": "b", "working_directory": "work", "tasks": [{"command": "touch here"}]}
    for text, code, sentence in (
        (json.dumps({"job": {"blocks": [block]}}), 0, "tasks: 1 done"),
        ("{", 2, "trio_afrender: stdin: not JSON"),
        ('{"job": {"blocks": []}}', 2, "trio_afrender: stdin: blocks: empty"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "trio_afrender", "run", "-"],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env=make_environment(tmp_path),
        )
        assert done.returncode == code
        assert sentence in done.stderr
    assert (tmp_path / "work" / "here").exists()


async def test_a_command_runs_for_frames(tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    command = "printf '%s ' @##@ @##@; pwd"
    words = ("run", "-c", command, "--frames", "1-4,8", "--per-task", "2", "--name", "shot")
    code, _, _ = await run_command(*words, "--report", report, home=tmp_path)
    assert code == 0
    data = json.loads(report.read_text())
    assert data["job"] == "shot"
    outputs = [task["output"].split() for task in data["tasks"]]
    assert outputs == [
        ["01", "02", str(tmp_path)],
        ["03", "04", str(tmp_path)],
        ["08", "08", str(tmp_path)],
    ]


async def test_a_command_has_the_parser_of_its_service(tmp_path: Path) -> None:
    words = ("run", "-c", "blender -f @#@", "--frames", "1", "--service", "blender", "--dry-run")
    _, out, _ = await run_command(*words, home=tmp_path)
    assert "service blender, parser blender" in out
    _, out, _ = await run_command(*words, "--parser", "none", home=tmp_path)
    assert "service blender, parser none" in out


@pytest.mark.parametrize(
    "words", [("-v",), ("--follow",), ("--follow", "b:0"), ("--no-progress", "-v")]
)
async def test_what_tasks_print_is_shown_while_they_run(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    hold = make_gate(tmp_path / "hold")
    job = write_job(
        tmp_path, f"printf 'a\\rb\\n\\033]0;x\\007c\\n'; read x < {hold}; printf end", "echo other"
    )
    async with open_command("run", *words, job, home=tmp_path) as command:
        await command.says("b / t0 | b\nb / t0 | c\n")
        await open_gate(hold)
        assert await command.wait() == 0
    assert "b / t0 | end\n" in command.err
    assert ("b / t1 | other" in command.err) == (words != ("--follow", "b:0"))


async def test_a_terminal_shows_output_above_the_bars(tmp_path: Path) -> None:
    job = write_job(tmp_path, "echo one; sleep 0.7; echo two")
    async with open_command(
        "run", job, "--follow", home=tmp_path, terminal=True, TERM="xterm-256color"
    ) as command:
        assert await command.wait() == 0
    plain = command.err.replace("\r", "")
    assert "one\n" in plain
    assert "two\n" in plain
    assert "0%" not in plain  # no parser: no percentage
    assert "\x1b[1;32m" in command.err or "\x1b[32m" in command.err  # the summary has colours


def test_overwritten_lines_are_shown_now_and_then() -> None:
    lines = OutputLines()
    assert list(lines.add("1%\r2%\r", 0.0)) == ["2%"]
    assert list(lines.add("3%\r", 0.5)) == []
    assert list(lines.add("4%\r5", 1.1)) == ["4%"]
    assert list(lines.add("%\ndone", 1.2)) == ["5%"]
    assert list(lines.add("\n\n", 1.2)) == ["done"]
    assert list(lines.add("x" * 10**6, 1.3)) == []
    assert [len(line) for line in lines.end()] == [1000]


def test_of_many_lines_at_once_some_are_shown() -> None:
    lines = [str(number) for number in range(5000)]
    shown = keep_some(lines)
    assert len(shown) == 1001
    assert (shown[0], shown[500], shown[-1]) == ("0", "[4000 lines are left out here]", "4999")
    assert keep_some(lines[:1000]) == lines[:1000]
