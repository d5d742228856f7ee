"""Errors of commands become one sentence and an exit code, also in groups of nurseries."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from trio_afrender.cli import main as cli_main
from trio_afrender.errors import ConfigError, LinkLost, StoreError


@pytest.mark.parametrize("error", [
    KeyboardInterrupt(),
    # An exception group cannot have one: what nurseries pass on is no `Exception`.
    BaseExceptionGroup("", [KeyboardInterrupt()]),
    BaseExceptionGroup("", [BaseExceptionGroup("", [OSError(), KeyboardInterrupt()])]),
])  # fmt: skip
def test_an_interrupted_command_is_silent(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], error: BaseException
) -> None:
    assert run_with(monkeypatch, error) == 130
    assert capfd.readouterr() == ("", "")


def test_an_error_of_ours_is_printed_also_at_an_interruption(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    group = BaseExceptionGroup("", [KeyboardInterrupt(), LinkLost("the farm is gone")])
    assert run_with(monkeypatch, group) == 3
    assert capfd.readouterr().err == "trio_afrender: the farm is gone\n"


def config_error(cause: OSError | None) -> ConfigError:
    error = ConfigError("text")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(("error", "code"), [
    (config_error(None), 2),
    (config_error(PermissionError(errno.EACCES, "")), 2),
    # A service manager restarts a program with 1 alone: the host may have a descriptor again.
    (config_error(OSError(errno.ENFILE, "")), 1),
    (StoreError.of(Path("s"), OSError(errno.ENFILE, "")), 1),
    (StoreError.of(Path("s"), OSError(errno.ENOMEM, "")), 1),
    (StoreError.of(Path("s"), OSError(errno.EROFS, "")), 1),
    (StoreError.of(Path("s"), OSError(errno.EACCES, "")), 2),
])  # fmt: skip
def test_what_may_pass_is_no_bad_usage(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    assert run_with(monkeypatch, error) == code


@pytest.mark.parametrize("words", [["run", "-c", "true"], ["run", "-c", "true", "--dry-run"]])
def test_a_host_without_a_temporary_folder(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    words: list[str],
) -> None:
    def find_none() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    with monkeypatch.context() as patch:  # the fixtures of all tests need one again
        patch.setattr(tempfile, "gettempdir", find_none)
        patch.setenv("HOME", str(tmp_path))
        assert cli_main.main(words) == 2
    sentence = "trio_afrender: no folder for temporary files can be written: set TMPDIR to one\n"
    assert capfd.readouterr().err == sentence


def run_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    def raise_error(_words: Sequence[str]) -> int:
        raise error

    monkeypatch.setattr(cli_main, "_run_command", raise_error)
    return cli_main.main(["jobs"])
