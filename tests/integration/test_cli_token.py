"""``trio_afrender token``: a token, and the line by which a gateway knows it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trio_afrender.cli.main import main
from trio_afrender.config import Token
from trio_afrender.transport.tokens import read_token_file, read_tokens_file


def write_tokens(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_a_token_and_its_line_fit_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["token", "cloud-*", "--expires", "2999-01-31"]) == 0
    out, err = capsys.readouterr()
    line = err.strip().rpartition("(--tokens): ")[2]
    assert line.startswith("cloud-* sha256:")
    assert line.endswith(" 2999-01-31")
    table = read_tokens_file(write_tokens(tmp_path / "tokens", f"{line}\n"))
    assert table.find(Token(out.strip())).patterns == ("cloud-*",)
    assert out.strip() not in err


def test_with_a_file_stdout_is_the_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a file"
    before = os.umask(0)
    try:
        assert main(["token", "r1", "--out", str(path)]) == 0
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    token = read_token_file(path)
    out, err = capsys.readouterr()
    table = read_tokens_file(write_tokens(tmp_path / "tokens", out))
    assert table.find(token).patterns == ("r1",)
    assert token.secret not in out + err
    # A second one would lock out the agent that has the first.
    assert main(["token", "r1", "--out", str(path)]) == 2
    assert f"--out {path}: it exists" in capsys.readouterr().err
    assert read_token_file(path) == token


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["two words"], "expected the name of a render"),
        (["# r1"], "expected the name of a render"),
        (["rénder"], "expected the name of a render"),
        ([""], "expected 1 to 255 characters, got 0"),
        (["r" * 256], "expected 1 to 255 characters, got 256"),
        (["r1", "--expires", "2020-01-01"], '--expires "2020-01-01": this time is over'),
        (["r1", "--expires", "tomorrow"], "expected an expiry like 2027-01-31 or"),
        (["r1", "--out", "/no/such/folder/x"], "--out /no/such/folder/x: No such file"),
        (["r1", "--out", "/dev/full"], "--out /dev/full: it exists"),
    ],
)
def test_what_makes_no_token_is_an_error(
    capsys: pytest.CaptureFixture[str], words: list[str], problem: str
) -> None:
    assert main(["token", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert problem in err


def test_a_file_that_an_agent_would_refuse_is_not_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    assert main(["token", "r1", "--out", str(folder / "token")]) == 2
    assert "another user could exchange it" in capsys.readouterr().err
    assert list(folder.iterdir()) == []
