"""Arguments of the command line, and the errors for wrong ones."""

from __future__ import annotations

import json
import os
from importlib import import_module
from pathlib import Path

import pytest

from trio_afrender.cli.arguments import make_parser, parse, split_overrides
from trio_afrender.cli.main import main
from trio_afrender.errors import ConfigError


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(words)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["rnu", "x.json"], 'no command "rnu", did you mean "run"?'),
        (["nimbi"], 'no command "nimbi", did you mean "nimby"?'),
        (["pauze", "j"], 'no command "pauze", did you mean "pause"?'),
        (["pause"], "the following arguments are required: NAME (see trio_afrender pause --help)"),
        (["nimby", "r1", "--yes"], 'unknown argument "--yes"'),
        (["set", "rendr", "x", "a=1"], "argument KIND: invalid choice: 'rendr'"),
        (["set", "render", "x"], "expected names and key=value, as in: trio_afrender set render"),
        (["set", "render", "priority=5"], "expected names and key=value"),
        (["set", "job", "j", "prio=5"], 'no parameter "prio", did you mean "priority"?'),
        (["renders", "--watch", "0"], "expected 0.1 to 86400 seconds, got 0"),
        # Empty, as from a variable of a shell that is not set: not the default.
        (["jobs", "--server", ""], '--server "": give af://HOST:PORT'),
        (["why", "1.0.0", "--server", ""], '--server "": give af://HOST:PORT'),
        (["delete", "*", "--yes", "--server", ""], '--server "": give af://HOST:PORT'),
        (["farm", "--json", ""], '--json "": expected HOST:PORT'),
        (["farm", "--listen", ""], '--listen "": expected HOST:PORT'),
        (["farm", "--web", ""], '--web "": expected HOST:PORT'),
        (["farm", "--metrics", ""], '--metrics "": expected HOST:PORT'),
        (["jobs", "--server", "wss://farm:1"], "give --server af://HOST:PORT"),
        (["log", "block", "2.0"], "argument KIND: invalid choice: 'block'"),
        (["log", "job", "j", "--tasks"], "--tasks is for renders"),
        (["output", "2.0.0", "--follow", "--run", "2"], "--follow is for the run in progress"),
        (["output", "2.0.0", "--run", "-1"], "--run: expected 1 or more, got -1"),
        (["tasks", "j", "--state", "RUN,DONE"], '--state: no state "DONE", did you mean "DON"?'),
        (["restart", "j", "--errors", "--done"], "not allowed with argument"),
        (["zzz"], 'no command "zzz" (see trio_afrender --help)'),
        (["job.json"], 'no command "job.json", did you mean "trio_afrender run job.json"?'),
        (["run"], "the following arguments are required: JOB.json (see trio_afrender run --help)"),
        (["run", "x", "--agent", "2"], 'unknown argument "--agent", did you mean "--agents"?'),
        (
            ["agent", "--max-tasks", "2"],
            'unknown argument "--max-tasks", did you mean "--trio_afrender.max_tasks"?',
        ),
        (
            ["run", "x", "--capacity", "2"],
            'unknown argument "--capacity", did you mean "--trio_afrender.capacity"?',
        ),
        (["check", "job", "a.json", "b.json"], 'one argument too many: "b.json"'),
        (["run", "a.json", "--agents", "2", "b.json"], 'one argument too many: "b.json"'),
        (["run", "x", "--wob"], 'unknown argument "--wob", did you mean "--web"?'),
        (["run", "x", "--agents", "two"], "argument --agents: invalid number value: 'two'"),
        (["run", "x", "--agents", "0"], "argument --agents: expected 1 to 64, got 0"),
        (["run", "x", "--retries", "-1"], "expected 0 to 1000, got -1"),
        # A plugin's name, not the render's.
        (["check", "meter", "x" * 300], 'no meter "xxx'),
        (["check", "parser", "x", "y", "--limit", "2e6"], "expected 0 to 1000000 seconds, got 2e6"),
        (["check", "parser", "x", "y", "--frames", "2147483648"], "expected 1 to 2147483647, got"),
        (["run", "x", "--config"], "argument --config: expected one argument"),
        (["agent", "Nimby"], "argument nimby: invalid choice: 'Nimby'"),
        (["-hostnam", "x"], 'unknown argument "-hostnam", did you mean "-hostname"?'),
        (["agent", "--usr", "x"], 'unknown argument "--usr", did you mean "--user"?'),
        (["--agnts", "2", "run", "x"], 'unknown argument "--agnts"'),
        (["run", "x", "-agents", "2"], 'unknown argument "-agents", did you mean "--agents"?'),
        (["submit", "-usernam", "x"], 'unknown argument "-usernam", did you mean "-username"?'),
        (["gateway", "--user", "x"], 'unknown argument "--user": it is an option of agent, submit,'),
        (["gateway", "--user", "x"], "not of gateway (see trio_afrender gateway --help)"),
        (["-v", "rnu", "x.json"], 'no command "rnu", did you mean "run"?'),
        (["config", "zzz"], 'no setting "zzz", trio_afrender config prints all'),
        (["config", "nice"], 'no setting "nice", did you mean "af_render_nice"?'),
        (["config", "quota"], 'no setting "quota", did you mean "trio_afrender.log_quota"?'),
        (["config", "tasks"], 'did you mean "trio_afrender.tasks.privileged" or "trio_afrender.tasks.umask" or '),
        (["config", "_tasks"], 'did you mean "trio_afrender.max_tasks"?'),
        (["-cmd"], "argument -cmd/--cmd: expected one argument"),
        (["--af_servername"], "--af_servername: expected a value"),
        (["--af_servernam", "x"], '--af_servernam: no such setting, did you mean "af_servername"?'),
        (["--zzz_zzz", "x"], "--zzz_zzz: no such setting, trio_afrender config prints all"),
        (["config", "--af_priority", "x"], '--af_priority: expected a whole number, got "x"'),
        ([], "no server: give --server af://HOST:PORT or wss://HOST:PORT"),
        (["--server", "af://farm/x"], 'server "af://farm/x": expected af://HOST or af://HOST:PORT'),
        (["--server", "http://farm"], 'server "http://farm": expected af://HOST, ws://HOST:PORT'),
        (["--server", "ws://farm.example:1"], "the token would be readable"),
        (["run", "no/such/job.json"], "no/such/job.json: No such file or directory"),
        (["run", "\x1b[31mred.json"], r"\x1b[31mred.json: No such file or directory"),
    ],
)  # fmt: skip
def test_bad_usage_is_one_sentence_on_stderr_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert err.startswith("trio_afrender: ")
    assert sentence.replace("no/such/job", f"no{os.sep}such{os.sep}job") in err
    assert err.count("\n") == 1


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "--debug", "run", "no/such.json")
    assert code == 2
    assert "Traceback" in err
    assert err.endswith(f"trio_afrender: no{os.sep}such.json: No such file or directory\n")


def test_version_and_help_go_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == (0, "trio_afrender 0.1.0\n", "")
    code, out, err = run(capsys, "--help")
    assert (code, err) == (0, "")
    assert "trio_afrender run JOB.json" in out


@pytest.mark.parametrize("word", ["-h", "help", "-", "--", "-?", "?", "/?"])
def test_afrenders_arguments_for_help(capsys: pytest.CaptureFixture[str], word: str) -> None:
    code, out, _ = run(capsys, word)
    assert (code, out.partition(" ")[0]) == (0, "usage:")


@pytest.mark.parametrize("command", ["agent", "run", "config"])
def test_each_command_has_its_own_help(capsys: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert f"usage: trio_afrender {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "nimby", "name"),
    [
        (["nimby"], "nimby", None),
        (["-NIMBY", "-hostname", "r1"], "NIMBY", "r1"),
        (["--name", "r1", "nimby"], "nimby", "r1"),
        (["-nimby"], "nimby", None),
        (["-NIMBY", "-nimby"], "NIMBY", None),
        (["nimby", "-NIMBY"], "NIMBY", None),
        (["-nimby", "nimby"], "nimby", None),
        ([], None, None),
    ],
)
def test_afrenders_nimby_and_name_options(
    words: list[str], nimby: str | None, name: str | None
) -> None:
    options = parse(["agent", *words])
    assert (options.nimby, options.name) == (nimby, name)


def test_afrenders_other_options() -> None:
    words = ["-nor", "-log_nodate", "-V", "-username", "ann", "-cmd", "echo -nimby"]
    options = parse(["agent", *words])
    assert (options.no_redirect, options.log_nodate, options.verbose) == (True, True, 1)
    assert (options.user, options.cmd, options.nimby) == ("ann", "echo -nimby", None)


def test_config_takes_the_options_of_the_agent(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["NIMBY", "-hostname", "r1", "-username", "Ann", "--server", "wss://farm:1"]
    code, out, _ = run(capsys, "config", *words)
    assert code == 0
    rows = {line.split()[0]: line.split(maxsplit=1)[1] for line in out.splitlines()}
    assert rows["name"] == '"r1"  [command line --name]'
    assert rows["user_name"] == '"Ann"  [command line --user]'
    assert rows["server"] == '"wss://farm:1"  [command line --server]'
    assert rows["trio_afrender.nimby"] == '"NIMBY"  [command line nimby]'


def test_config_prints_the_requested_keys(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "config", "af_server*", "name", "-NIMBY")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == [
        "af_servername",
        "af_serverport",
        "name",
    ]
    code, out, _ = run(capsys, "config", "--json", "trio_afrender.nimby", "nimby")
    assert list(json.loads(out)["values"]) == ["trio_afrender.nimby"]
    assert json.loads(out)["values"]["trio_afrender.nimby"]["value"] == "nimby"
    code, out, err = run(capsys, "config", "af_servernam")
    assert (code, out) == (2, "")
    assert 'no setting "af_servernam", did you mean "af_servername"?' in err


def test_keys_are_separated_in_any_order_and_the_last_counts() -> None:
    words = ["a", "--af_priority", "5", "--pathsmap=[]", "--af_priority=6", "--name", "--af_x", "7"]
    assert split_overrides(words) == (
        ["a", "--name"],
        {"af_priority": "6", "pathsmap": "[]", "af_x": "7"},
    )
    assert split_overrides(["--trio_afrender.timing.grace", "3", "--studio_key=x", "--a-b"]) == (
        ["--a-b"],
        {"trio_afrender.timing.grace": "3", "studio_key": "x"},
    )
    with pytest.raises(ConfigError, match="--cmd_shell: expected a value"):
        split_overrides(["--cmd_shell"])


@pytest.mark.parametrize(
    ("words", "command", "nimby"),
    [
        (["nimby"], "agent", "nimby"),
        (["NIMBY", "--server", "af://farm"], "agent", "NIMBY"),
        (["nimby", "-v"], "agent", "nimby"),
        (["nimby", "r1", "r2"], "nimby", None),
        (["NIMBY", "render*", "--server", "af://farm"], "NIMBY", None),
    ],
)
def test_nimby_is_the_agents_state_or_a_command_for_renders(
    words: list[str], command: str, nimby: str | None
) -> None:
    options = parse(words)
    assert (options.command, getattr(options, "nimby", None)) == (command, nimby)


@pytest.mark.parametrize(("words", "name"), [
    (["run", "-c", "true", "--store=~/x"], "store"),
    (["run", "j.json", "--only-failed=~/x"], "only_failed"),
    (["check", "job", "~/x"], "job"),
    (["check", "service", "blender", "~/x"], "task"),
    (["check", "parser", "blender", "log", "--html=~/x"], "html"),
    (["farm", "--gui=~/x"], "gui"),
    (["gateway", "--tokens=~/x"], "tokens"),
    (["gateway", "--store=~/x"], "store"),
    (["web", "--cert=~/x"], "cert"),
    (["token", "r1", "--out=~/x"], "out"),
    (["agent", "--ca-file=~/x"], "ca_file"),
])  # fmt: skip
def test_files_and_folders_may_be_in_the_home_folder(words: list[str], name: str) -> None:
    """A shell expands a tilde at the beginning of a word only."""
    assert getattr(parse(words), name) == Path.home() / "x"


def test_every_command_has_a_module() -> None:
    for name, parser in make_parser()[1].items():
        module = parser.get_default("module") or name.partition(" ")[0]
        assert import_module(f"trio_afrender.cli.commands.{module}").run


@pytest.mark.parametrize(
    ("words", "command", "rest"),
    [
        (["-v", "run", "j.json"], "run", {"verbose": 1}),
        (["-vv", "--config", "run", "config"], "config", {"verbose": 2, "config": [Path("run")]}),
        (["--config=c", "resources", "--watch"], "resources", {"watch": 2.0}),
        (["--agents", "2", "farm"], "farm", {"agents": 2}),
        (["--af_priority", "3", "doctor"], "doctor", {"overrides": {"af_priority": "3"}}),
        (["-v", "check", "parser", "p", "log"], "check parser", {"verbose": 1, "plugin": "p"}),
        (["--server", "af://x", "nimby"], "agent", {"nimby": "nimby", "server": "af://x"}),
        (["-cmd", "run"], "agent", {"cmd": "run"}),
        (["-v", "nimby", "r1"], "nimby", {"names": ["r1"]}),
        (["-v"], "agent", {"verbose": 1}),
        (["--name", "a", "--name", "b"], "agent", {"name": "b"}),
        (["run", "--", "-x.json"], "run", {"job": Path("-x.json")}),
    ],
)
def test_options_may_stand_before_the_command(
    words: list[str], command: str, rest: dict[str, object]
) -> None:
    options = vars(parse(words))
    assert options["command"] == command
    assert {name: options[name] for name in rest} == rest
