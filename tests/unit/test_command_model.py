"""The commands as completions and the manual have them."""

from __future__ import annotations

import pytest

from trio_afrender.cli.arguments import COMPLETED, UNITS, make_parser
from trio_afrender.cli.command_model import list_commands
from trio_afrender.cli.main import main
from trio_afrender.cli.manual_page import make_manual
from trio_afrender.cli.shell_completion import SHELLS, make_completion
from trio_afrender.cli.systemd_units import UNIT_KINDS

COMMANDS = {command.name: command for command in list_commands()}


def test_every_command_is_there() -> None:
    parsers = make_parser()[1]
    assert len(COMMANDS) == len(parsers)
    assert {"agent", "run", "nimby", "check parser", "unit"} <= COMMANDS.keys()


def test_every_option_is_in_each_output() -> None:
    outputs = {shell: make_completion(shell) for shell in SHELLS}
    manual = make_manual().replace(r"\-", "-")
    for command in COMMANDS.values():
        for option in command.options:
            assert option.help, option
            for name in option.names:
                assert name in outputs["bash"]
                assert name in outputs["zsh"]
                assert f" {name.lstrip('-')} " in outputs["fish"], name
                assert name == "-h" or name == "--help" or name in manual


def test_values() -> None:
    options = {name: option for option in COMMANDS["run"].options for name in option.names}
    kinds = {name: option.value and option.value.kind for name, option in options.items()}
    assert kinds["--report"] == "file"
    assert kinds["--store"] == "folder"
    assert kinds["--keep"] is None
    assert options["--plugins"].repeated
    watch = next(o for o in COMMANDS["jobs"].options if "--watch" in o.names)
    assert watch.value is not None
    assert watch.value.optional
    assert COMMANDS["log"].words[0].words == ("render", "job", "task", "user", "pool")


def test_a_default_is_spelled_out() -> None:
    assert not [o.help for c in COMMANDS.values() for o in c.options if "%(" in o.help]


def test_what_help_lists_without_imports_is_true() -> None:
    assert tuple(SHELLS) == COMPLETED
    assert UNIT_KINDS == UNITS


@pytest.mark.parametrize("shell", [*SHELLS, "man"])
def test_the_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    out, err = capsys.readouterr()
    assert out == (make_manual() if shell == "man" else make_completion(shell))
    assert not err


def test_an_unknown_shell(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "csh"]) == 2
    assert "choose from" in capsys.readouterr().err


def test_the_manual_is_plain_man() -> None:
    """Each line that begins with a dot is a request that every formatter knows."""
    for line in make_manual().splitlines():
        assert not line.startswith("'")
        if line.startswith("."):
            assert line.split()[0] in {".TH", ".SH", ".SS", ".TP", ".PP", ".B"}, line
