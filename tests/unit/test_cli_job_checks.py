"""Jobs and options that `run` refuses before anything starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trio_afrender.cli.main import main


def block(**keys: object) -> str:
    tasks = [{"name": "a", "command": "true"}]
    return json.dumps({"job": {"name": "j", "blocks": [{"name": "b", "tasks": tasks, **keys}]}})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "not JSON: "),
        ("[]", "not a job"),
        ("{}", "missing: this is not a job file"),
        (block(tasks=5), "blocks[0].tasks: expected"),
        (block(tasks=[{"command": 5}]), "blocks[0].tasks[0].command: expected"),
        (block(tasks=[]), "blocks[0].tasks: empty"),
        (block(frames_per_task="x"), "blocks[0].frames_per_task: expected"),
        (block(service="blendr"), 'blocks[0].service: no service "blendr", did you mean "blender"?'),
        (block(service="../x"), 'blocks[0].service: no service "../x"'),
        (block(service="a\x1b[31mb"), r'no service "a\x1b[31mb"'),
    ],
)  # fmt: skip
def test_an_error_in_a_job_names_the_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, sentence: str
) -> None:
    path = tmp_path / "job.json"
    path.write_text(text)
    assert main(["run", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--report", "{tmp}/no/report.json"], "--report {tmp}/no/report.json: the folder {tmp}/no is missing or not writable"),
        (["--report", "{tmp}"], "--report {tmp}: this is a folder, give a file name"),
        (["--report", "{tmp}/r.json", "--report", "{tmp}/x/../r.json"], "--report {tmp}/x/../r.json: given twice"),
        (["--report", ""], '--report "": give a file name'),
        (["--report", "~no_such_user/r.json"], "--report ~no_such_user/r.json: the folder "),
        (["--config", "~no_such_user/c.json"], "~no_such_user/c.json does not exist"),
        (["--plugins", "{tmp}/no"], "plugin folder {tmp}/no does not exist"),
        (["--plugins", "{tmp}/job.json"], "plugin folder {tmp}/job.json is not a folder"),
        (["--store", "{tmp}/job.json"], "store folder {tmp}/job.json: "),
        (["--config", "{tmp}/no.json"], "config file {tmp}/no.json does not exist"),
        (["--cmd_shell", " "], "cmd_shell: expected a shell, with its options"),
    ],
)  # fmt: skip
def test_bad_options_are_reported_before_the_job_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    (tmp_path / "job.json").write_text(block())
    made = [word.format(tmp=tmp_path) for word in words]
    assert main(["run", str(tmp_path / "job.json"), *made]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence.format(tmp=tmp_path.as_posix()) in err.replace("\\", "/")
    assert err.count("\n") == 1


def test_a_working_folder_that_cannot_be_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # As below a folder that is closed to this user.
    (tmp_path / "job.json").write_text(block(working_directory=f"/{'x' * 300}"))
    assert main(["check", "job", str(tmp_path / "job.json")]) == 0
    assert "xxx (does not exist now)" in capsys.readouterr().out
