"""Units of systemd: paths, quoting, and the files of the examples."""

from __future__ import annotations

import sys
from pathlib import Path

import attrs
import pytest
from support.example_units import EXAMPLE_UNITS, FOLDER

from trio_afrender.cli.commands.unit import find_program
from trio_afrender.cli.main import main
from trio_afrender.cli.systemd_units import UNIT_KINDS, UnitPlan, make_unit, quote_word
from trio_afrender.user_switch import CAPABILITIES


@pytest.mark.parametrize("name", EXAMPLE_UNITS)
def test_the_examples_are_current(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert text == make_unit(EXAMPLE_UNITS[name]), "python tests/support/example_units.py"


def test_the_folder_has_no_other_units() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(EXAMPLE_UNITS)


@pytest.mark.parametrize(
    ("word", "quoted"),
    [
        ("--server", "--server"),
        ("af://farm", "af://farm"),
        ("/srv/a b", '"/srv/a b"'),
        ("50%", "50%%"),
        ("a$b", "a$$b"),
        ('a"b', '"a\\"b"'),
        ("a\\b", '"a\\\\b"'),
        ("%h/.config/x", "%h/.config/x"),
        ("%S/a b%", '"%S/a b%%"'),
        ("a\tb\nExecStartPre=x", '"a\\x09b\\x0aExecStartPre=x"'),
        ("a\udcffb", '"a\\xffb"'),
        ("", '""'),
    ],
)
def test_words_keep_their_meaning(word: str, quoted: str) -> None:
    assert quote_word(word) == quoted


def settings_of(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if "=" in line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[dict[str, str], str]:
    """The settings of a unit that the command prints, and stderr."""
    assert main(["unit", *words]) == 0
    out, err = capsys.readouterr()
    return settings_of(out), err


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CGRU_LOCATION", "CGRU_CUSTOM_CONFIG", "CGRU_AF_SERVERNAME", "AF_SERVERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_an_agent(capsys: pytest.CaptureFixture[str]) -> None:
    unit, err = printed(capsys)
    program = Path(sys.executable).parent / "trio_afrender"
    assert unit["ExecStart"] == f"{program} agent --server af://farm.example"
    assert (unit["User"], unit["WantedBy"]) == ("render", "multi-user.target")
    assert "replace farm.example" in err


def test_the_server_of_the_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "site.json"
    config.write_text('{"cgru_config": {"af_servername": "farm", "af_serverport": 51000}}')
    unit, err = printed(capsys, "--config", "site.json", "--run-as", "artist")
    assert unit["ExecStart"].endswith(f"agent --config {config} --server af://farm:51000")
    assert unit["User"] == "artist"
    assert "replace" not in err


def test_tasks_with_users_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "site.json"
    config.write_text('{"cgru_config": {"trio_afrender": {"tasks": {"user": "artist"}}}}')
    unit, _ = printed(capsys, "--config", "site.json")
    assert unit["AmbientCapabilities"].split() == list(CAPABILITIES)
    unit, _ = printed(capsys, "--config", "site.json", "--user")
    assert "AmbientCapabilities" not in unit, "the systemd of a user has none"
    unit, _ = printed(capsys)
    assert "AmbientCapabilities" not in unit


def test_a_remote_agent_has_a_token(capsys: pytest.CaptureFixture[str]) -> None:
    unit, err = printed(capsys, "agent", "--server", "wss://farm:7443")
    assert unit["ExecStart"].endswith("wss://farm:7443 --token-file /etc/trio_afrender/token")
    assert "put the token into /etc/trio_afrender/token" in err
    unit, _ = printed(capsys, "--user", "--server", "wss://farm:7443")
    assert unit["ExecStart"].endswith("--token-file %h/.config/trio_afrender/token")


def test_a_unit_of_a_user(capsys: pytest.CaptureFixture[str]) -> None:
    unit, _ = printed(capsys, "agent", "--user")
    assert unit["WantedBy"] == "default.target"
    assert "User" not in unit
    assert "OOMScoreAdjust" not in unit, "a user may not"


def test_a_gateway(capsys: pytest.CaptureFixture[str]) -> None:
    unit, err = printed(capsys, "gateway", "--server", "af://farm")
    words = unit["ExecStart"].split()
    assert words[words.index("--listen") + 1] == "wss://0.0.0.0:7443"
    assert words[words.index("--server") + 1] == "af://farm"
    assert words[words.index("--store") + 1] == "%S/trio_afrender_gateway"
    assert unit["StateDirectory"] == "trio_afrender_gateway"
    assert unit["ProtectSystem"] == "strict"
    assert "the name of this host" in err
    unit, _ = printed(capsys, "gateway", "--user")
    assert "ProtectSystem" not in unit, "the systemd of a user cannot make it true"


def test_a_farm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unit, _ = printed(capsys, "farm", "--store", "a b")
    assert unit["ExecStart"].endswith(f'farm --store "{tmp_path}/a b"')
    assert unit["KillMode"] == "process"


def test_config_files_of_cgru(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CGRU_LOCATION", "/opt/c gru")
    unit, _ = printed(capsys, "--server", "af://farm")
    assert unit["Environment"] == '"CGRU_LOCATION=/opt/c gru"'
    # A dollar sign has no meaning there, other than in ExecStart.
    monkeypatch.setenv("CGRU_LOCATION", '/opt/$c%"')
    unit, _ = printed(capsys, "--server", "af://farm")
    assert unit["Environment"] == '"CGRU_LOCATION=/opt/$c%%\\""'


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["agnt"], "invalid choice: 'agnt'"),
        (["--user", "--run-as", "me"], "one of --user runs as its user"),
        (["--run-as", "a\nExecStartPre=x"], "expected the name of a user"),
        (["farm", "--server", "af://x"], "a farm is a server itself"),
        (["--af_render_nice", "5"], "put it into a config file"),
        (["--config", "nowhere.json"], "nowhere.json"),
    ],
)
def test_bad_usage(words: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["unit", *words]) == 2
    out, err = capsys.readouterr()
    assert problem in err
    assert not out


def test_the_program_is_found_without_a_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python3"))
    monkeypatch.setattr(sys, "argv", ["/lib/trio_afrender/__main__.py"])
    assert find_program() == (str(tmp_path / "python3"), "-m", "trio_afrender")


def test_a_program_in_a_home_folder() -> None:
    plan = UnitPlan(kind="gateway", program=("/home/a/bin/trio_afrender",), arguments=())
    assert "ProtectHome" not in make_unit(plan), "it could not be started"
    plan = attrs.evolve(plan, program=("/opt/bin/trio_afrender",))
    assert "ProtectHome=yes" in make_unit(plan)


def test_kinds() -> None:
    for kind in UNIT_KINDS:
        assert make_unit(UnitPlan(kind=kind, program=("/x",), arguments=())).count("[Service]") == 1
