"""Errors of commands become one sentence and an exit code, also in groups of nurseries."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from trio_afrender.cli import main as cli_main
from trio_afrender.errors import LinkLost


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


def test_an_error_of_ours_is_told_also_at_an_interruption(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    group = BaseExceptionGroup("", [KeyboardInterrupt(), LinkLost("the farm is gone")])
    assert run_with(monkeypatch, group) == 3
    assert capfd.readouterr().err == "trio_afrender: the farm is gone\n"


def run_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    def raise_error(_words: Sequence[str]) -> int:
        raise error

    monkeypatch.setattr(cli_main, "_run_command", raise_error)
    return cli_main.main(["jobs"])
