"""`trio_afrender check` in a process of its own."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support.cli import open_command, run_command
from support.parsers import LOGS
from support.plugins import PLUGINS

LOG = b"hello\n\x1b[31mPROGRESS: 20%\n[ PARSER ERROR ] bad\n"


async def test_a_parser_is_shown_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_bytes(LOG)
    code, out, err = await run_command("check", "parser", "generic", "x.log", home=tmp_path)
    assert (code, err) == (0, "")
    assert out.splitlines()[:6] == [
        "generic: x.log, in chunks: line",
        r"2 | \x1b[31mPROGRESS: 20%",
        "  |   20%, 20% of the frame",
        "3 | [ PARSER ERROR ] bad",
        "  |   report: [ PARSER ERROR ] bad",
        "  |   error: the task is stopped here",
    ]
    assert "FinishedParserError (8), for exit code 0" in out
    assert "\x1b" not in out


async def test_a_parser_is_shown_as_json_and_as_a_page(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_bytes(LOG)
    words = ("check", "parser", "--chunk", "3", "generic", "--json", "x.log", "--html", "x.html")
    code, out, _ = await run_command(*words, home=tmp_path)
    assert code == 0
    data = json.loads(out)
    assert (data["status_name"], data["state"]["percent"]) == ("FinishedParserError", 20)
    assert (data["chunk"], data["good"]) == ("3", True)
    assert data["stopped"]["line"] == 3
    assert "background-color:#FF0000" in (tmp_path / "x.html").read_text()


async def test_two_logs_give_two_lines_of_json(tmp_path: Path) -> None:
    words = ("check", "parser", "ffmpeg", LOGS / "ffmpeg_encode.log", LOGS / "ffmpeg_missing.log")
    code, out, _ = await run_command(*words, "--json", home=tmp_path)
    assert code == 0
    first, second = map(json.loads, out.splitlines())
    assert (first["state"]["error"], second["state"]["error"]) == (False, True)


async def test_a_result_that_depends_on_the_chunks_is_reported(tmp_path: Path) -> None:
    (tmp_path / "calls.py").write_text(
        "from parsers import parser\nclass calls(parser.parser):\n"
        "    def do(self, args):\n        self.percent += 10\n"
    )
    (tmp_path / "x.log").write_text("a\nb\n")
    words = ("check", "parser", "calls", "x.log", "--plugins", ".")
    code, out, _ = await run_command(*words, home=tmp_path)
    assert code == 1
    assert "percent is 30 in these chunks, 20 in one" in out


async def test_a_service_is_shown_with_this_hosts_paths(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text('{"cgru_config": {"pathsmap": [["/mnt/", "/srv/"]]}}')
    (tmp_path / "t.json").write_text('{"command_block": "ls /srv/a", "comand_task": "x"}')
    words = ("check", "service", "generic", "t.json", "--config", "c.json")
    code, out, err = await run_command(*words, home=tmp_path)
    assert code == 0
    assert "  command      ls /mnt/a\n" in out
    assert 'no key "comand_task", did you mean "command_task"?' in err
    code, out, _ = await run_command(*words, "--json", home=tmp_path)
    assert json.loads(out)[0]["command"] == "ls /mnt/a"


async def test_a_meter_is_shown(tmp_path: Path) -> None:
    code, out, _ = await run_command("check", "meter", "example", "--json", home=tmp_path)
    assert (code, json.loads(out)["values"]["value"]) == (0, 6)


async def test_all_plugins_are_checked(tmp_path: Path) -> None:
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "moth.py").write_text("class month: pass\n")
    code, out, _ = await run_command("check", "--plugins", ".", home=tmp_path)
    assert code == 1
    assert 'has no class "moth"' in out
    assert re.search(r"\d+ services, \d+ parsers, \d+ meters: 1 with problems\n$", out)
    code, out, _ = await run_command("check", "--json", home=tmp_path)
    assert code == 0
    assert all(report["good"] for report in json.loads(out))


async def test_errors_are_one_sentence(tmp_path: Path) -> None:
    for words, sentence in (
        (("parser", "generik", LOGS / "generic.log"), 'no parser "generik", did you mean "generic"?'),
        (("parser", "generic", "no.log"), "log no.log: No such file or directory"),
        (("parser", "generic", "/dev/zero"), "log /dev/zero: larger than 256 MiB"),
        (("meter", "exam\npel"), 'no meter "exam?pel", did you mean "example"?'),
        (("parser", "generic", LOGS / "generic.log", "--chunk", "x"), 'chunk "x": expected'),
        (("service", "generic", "no.json"), "no.json: No such file or directory"),
        (("meter", "exampel"), 'no meter "exampel", did you mean "example"?'),
        (("parsr",), 'no kind of plugin "parsr", did you mean "parser"?'),
        (("parser", "bad_import", LOGS / "generic.log", "--plugins", PLUGINS), "a_module_that_is_nowhere"),
    ):  # fmt: skip
        code, out, err = await run_command("check", *words, home=tmp_path)
        assert (code, out) == (2, "")
        assert sentence in err.splitlines()[0]


async def test_output_to_a_pipe_has_no_colours(tmp_path: Path) -> None:
    words = ("check", "parser", "generic", LOGS / "generic.log")
    async with open_command(*words, home=tmp_path, terminal=True) as command:
        await command.wait()
    assert "\x1b" not in command.out


async def test_output_to_a_terminal_is_coloured_and_as_wide(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_text("[ PARSER ERROR ] " + "漢字" * 100 + "\n")
    words = ("check", "parser", "generic", "x.log")
    async with open_command(
        *words, home=tmp_path, out_terminal=True, TERM="xterm-256color"
    ) as command:
        await command.wait()
    line = next(line for line in command.out.splitlines() if "PARSER" in line)
    assert re.sub(r"\x1b\[[0-9;]*m", "", line).count("漢字") == 14, "14 * 4 of 80 columns"
    assert line.endswith("…")
    assert "\x1b[1;31merror: the task is stopped here\x1b[0m" in command.out
    async with open_command(
        *words, home=tmp_path, out_terminal=True, TERM="xterm-256color", NO_COLOR="1"
    ) as command:
        await command.wait()
    assert "[1;31m" not in command.out


async def test_without_rich_output_to_a_terminal_is_plain(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\n\nsys.modules['rich'] = None\n")
    (tmp_path / "x.log").write_bytes(LOG)
    words = ("check", "parser", "generic", "x.log")
    async with open_command(
        *words, home=tmp_path, out_terminal=True, PYTHONPATH=str(tmp_path)
    ) as command:
        assert await command.wait() == 0
    assert "error: the task is stopped here" in command.out
    assert "\x1b" not in command.out


async def test_a_limit_that_is_over_at_once_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("x")
    words = ("check", "parser", "arnold", "log", "--limit", "0.0000001")
    code, out, err = await run_command(*words, home=tmp_path)
    assert (code, out) == (2, "")
    assert 'parser "arnold" did not end in 1e-07 s' in err


async def test_the_line_of_a_plugin_that_hangs_is_named(tmp_path: Path) -> None:
    # The plugin has 0.1 s of the limit left, however long it took to reach it.
    begin = "_, again = signal.getitimer(signal.ITIMER_REAL)\n        signal.setitimer(signal.ITIMER_REAL, 0.1, again)"
    for kind, body in (
        ("parser", f"def do(self, i_args):\n        {begin}\n        try:\n            re.match(r'(a+)+$', 'a' * 60 + 'b')\n        except:\n            pass\n        while True: pass"),
        ("service", f"def __init__(self, *words):\n        {begin}\n        re.match(r'(a+)+$', 'a' * 60 + 'b')"),
    ):  # fmt: skip
        folder = tmp_path / "plugins" / f"{kind}s"
        folder.mkdir(parents=True)
        source = f"from {kind}s import {kind}\nclass evil({kind}.{kind}):\n    {body}\n"
        (folder / "evil.py").write_text(f"import re, signal\n{source}")
    (tmp_path / "x.log").write_bytes(LOG)
    (tmp_path / "x.json").write_text('{"command_block": "true"}')
    for kind, file in (("parser", "x.log"), ("service", "x.json")):
        words = ("check", kind, "evil", file, "--plugins", "plugins", "--limit", "50")
        code, out, err = await run_command(*words, home=tmp_path)
        assert (code, out) == (2, "")
        assert f'{kind} "evil" did not end in 50 s; it was at' in err
        assert "evil.py, line" in err


@pytest.mark.parametrize("kind", ["link", "full", "folder"])
async def test_a_page_is_written_to_what_is_there(tmp_path: Path, kind: str) -> None:
    (tmp_path / "log").write_text("PROGRESS: 5%\n")
    target, link = tmp_path / "target.html", tmp_path / "link.html"
    target.write_text("older")
    target.chmod(0o600)
    link.symlink_to(target)
    name = {"link": link, "full": Path("/dev/full"), "folder": tmp_path}[kind]
    code, _, err = await run_command(
        "check", "parser", "generic", "log", "--html", name, home=tmp_path
    )
    assert link.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o600
    if kind == "link":
        assert code == 0
        assert target.read_text().startswith("<!DOCTYPE html>")
    else:
        problem = "No space left on device" if kind == "full" else "this is a folder"
        assert (code, err) == (2, f"trio_afrender: page {name}: {problem}\n")
