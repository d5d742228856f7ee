"""Closed and full streams: a sentence where it can be written, and an exit code that is not 0."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.cli import GUARD, make_environment, open_command

JOB = {
    "name": "j",
    "blocks": [
        {"name": "b", "service": "generic", "frame_first": 1, "frame_last": 1, "command": "true"}
    ],
}


def run_in_shell(line: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of sh in which ``trio_afrender`` is the program."""
    (home / "job.json").write_text(json.dumps({"job": JOB}))
    program = f'trio_afrender() {{ {sys.executable} -m trio_afrender "$@"; }}'
    return subprocess.run(
        ["/bin/bash", "-c", f"{program}; {line}"],
        env=make_environment(home),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=GUARD,
        check=False,
    )


@pytest.mark.parametrize("command", ["config af_priority", "--version", "--help", "config --json"])
@pytest.mark.parametrize(
    ("redirection", "problem"),
    [(">&-", "it is closed"), (">/dev/full", "No space left on device")],
)
def test_a_stdout_that_takes_nothing_is_an_error(
    tmp_path: Path, command: str, redirection: str, problem: str
) -> None:
    done = run_in_shell(f"trio_afrender {command} {redirection}", tmp_path)
    assert done.returncode == 1
    assert done.stderr.endswith(f"trio_afrender: cannot write to stdout: {problem}\n")
    assert "internal error" not in done.stderr


def test_a_command_without_output_needs_no_stdout(tmp_path: Path) -> None:
    done = run_in_shell("trio_afrender run job.json <&- >&-", tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("redirection", [">&-", ">/dev/full"])
def test_a_report_that_stdout_does_not_take_is_not_lost_silently(
    tmp_path: Path, redirection: str
) -> None:
    done = run_in_shell(f"trio_afrender run job.json --report - {redirection}", tmp_path)
    assert done.returncode != 0
    assert "stdout" in done.stderr.splitlines()[-1]
    assert "internal error" not in done.stderr


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_without_stderr_commands_work_and_keep_their_exit_codes(
    tmp_path: Path, redirection: str
) -> None:
    line = "trio_afrender config af_priority --zzz {0}; echo $?; trio_afrender run job.json --report r.json {0}; echo $?"
    done = run_in_shell(line.format(redirection), tmp_path)
    assert done.stdout.split() == ["2", "0"]
    assert json.loads((tmp_path / "r.json").read_text())["state"] == "done"


async def test_a_reader_that_leaves_ends_the_command_silently(tmp_path: Path) -> None:
    async with open_command("config", home=tmp_path, out_terminal=False) as command:
        assert command.process.stdout is not None
        await command.process.stdout.aclose()
        await command.wait()
    # The reader may have got all of it before it left.
    assert command.process.returncode in (0, 141)
    assert "error" not in command.err


def test_a_reader_that_leaves_first_is_seen(tmp_path: Path) -> None:
    line = "mkfifo pipe; (exec <pipe) & exec 3>pipe; wait; trio_afrender config >&3; echo $?"
    done = run_in_shell(line, tmp_path)
    assert done.stdout == "141\n"
    assert done.stderr == "config files read: none\n"


def test_a_report_leaves_no_folder_that_was_not_asked_for(tmp_path: Path) -> None:
    done = run_in_shell("trio_afrender run job.json --report r.json", tmp_path)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "tmp").iterdir()) == []
    assert "logs, output" not in done.stderr
    done = run_in_shell("trio_afrender run job.json --report r.json --store kept", tmp_path)
    assert f"logs, output and thumbnails: {tmp_path}/kept/trio_afrender-run-" in done.stderr
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize(
    ("redirection", "code", "problem"),
    [
        (">&-", 2, "trio_afrender: report to stdout: it is closed"),
        (">/dev/full", 2, "trio_afrender: report to stdout: No space left on device"),
        (">&3", 141, 'job "j": done'),
    ],
)
def test_a_report_that_stdout_does_not_take(
    tmp_path: Path, redirection: str, code: int, problem: str
) -> None:
    # The reader of the pipe has left before the command starts: one that leaves later may get it.
    pipe = "mkfifo pipe; (exec <pipe) & exec 3>pipe; wait"
    done = run_in_shell(f"{pipe}; trio_afrender run job.json --report - {redirection}", tmp_path)
    assert done.returncode == code
    assert done.stderr.splitlines()[-1].startswith(problem)
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "tmp").iterdir()) == []


def test_reports_after_one_that_stdout_does_not_take_are_written(tmp_path: Path) -> None:
    line = "trio_afrender run job.json --report - --report r.json >/dev/full"
    done = run_in_shell(line, tmp_path)
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads((tmp_path / "r.json").read_text())["state"] == "done"


def test_a_current_folder_that_was_deleted(tmp_path: Path) -> None:
    gone = "mkdir gone; cd gone; rmdir ../gone;"
    # Nothing here needs the folder: the store of the environment is an absolute path.
    done = run_in_shell(f"{gone} trio_afrender config af_priority", tmp_path)
    assert (done.returncode, done.stdout) == (0, "af_priority  99  [default]\n"), done.stderr
    for words in ("token x --out t", "config --config x", "run -c true", "farm --plugins p"):
        done = run_in_shell(f"{gone} trio_afrender {words}", tmp_path)
        assert done.returncode == 2
        sentence = "trio_afrender: the current folder was deleted: change to another one\n"
        assert done.stderr == sentence
