"""Questions before what cannot be undone."""

from __future__ import annotations

import io
import sys

import pytest

from trio_afrender.cli.confirmation import Declined, confirm
from trio_afrender.errors import ConfigError


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("answer", "does"),
    [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False), ("", False), ("yx\n", False)],
)
def test_only_yes_is_yes(monkeypatch: pytest.MonkeyPatch, answer: str, does: bool) -> None:
    shown = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys, "stderr", shown)
    if does:
        confirm("delete 3 jobs\x1b", yes=False)
    else:
        with pytest.raises(Declined):
            confirm("delete 3 jobs\x1b", yes=False)
    assert shown.getvalue() == "delete 3 jobs\\x1b? [y/N] "


def test_bytes_that_are_no_text_are_no_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Latin(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    stdin = Latin(io.BytesIO(b"\xe4\n"), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", stdin)
    monkeypatch.setattr(sys, "stderr", Terminal())
    with pytest.raises(Declined):
        confirm("delete 3 jobs", yes=False)


def test_without_a_terminal_it_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(ConfigError, match="delete 3 jobs: give --yes to do it"):
        confirm("delete 3 jobs", yes=False)


def test_yes_asks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    confirm("delete 3 jobs", yes=True)


def test_ctrl_c_is_no(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Interrupted(Terminal):
        def readline(self, *_args: object) -> str:  # type: ignore[override] # StringIO has str
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", Interrupted())
    monkeypatch.setattr(sys, "stderr", Terminal())
    with pytest.raises(Declined):
        confirm("delete 3 jobs", yes=False)
