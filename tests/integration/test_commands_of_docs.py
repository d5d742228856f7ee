"""Each command in README and docs is run, against a farm, an afserver's double and a gateway here."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import groupby
from pathlib import Path

import attrs
import pytest
import trio
import trustme
from support.cli import open_command, run_command
from support.docs_commands import ROOT, ShownCommand, list_commands

from trio_afrender.testing import open_native_server

MOTH = """
from parsers.parser import RuleParser, new_frame, rule


class moth(RuleParser):
    rules = (rule("drawing moth ", r"drawing moth (\\d+)", new_frame),)
"""
CODES: Mapping[str, frozenset[int]] = {
    "doctor": frozenset({0, 1}),  # this host may have something to fix
    "run examples/failing.json": frozenset({1}),
    "why 9.0.0": frozenset({1}),  # the job of the page is not there
    "set render 'vm-*' prio=50": frozenset({2}),  # the page shows its error
}
"""Exit codes by the begin of a command; others are 0."""
LONG = 300.0
"""Seconds after which the servers of the stage count as hung."""
SERVERS = ("agent", "gateway", "farm", "web")
"""Commands that run until they are stopped; without a command it is the agent."""


@attrs.define
class DocsStage:
    """A folder with the files of the pages, and the servers that they name."""

    home: Path
    farm: str
    afserver: str
    gateway: str = ""

    def words(self, command: ShownCommand) -> list[str]:
        """The words of a command, with what is here in place of what the pages name."""
        name = kind(command)
        af = self.farm if name in ("submit", "web", "doctor", "why") else self.afserver
        words = [word.replace("~", str(self.home)) for word in command.words]
        words = [re.sub(r"^af://[^,]*", af, word) for word in words]
        if name == "gateway":
            words = [word.replace("wss://0.0.0.0:7443", "wss://127.0.0.1:0") for word in words]
        words = [word.replace("wss://farm.example:7443", self.gateway) for word in words]
        words = [word.replace("127.0.0.1:9108", "127.0.0.1:0") for word in words]
        words = [word.replace("/opt/studio/afanasy", "studio") for word in words]
        words = [word.replace("/etc/trio_afrender/", "") for word in words]
        words = [word.replace("$(hostname -s)", "here") for word in words]
        if name == "why":  # the page counts jobs from the start of its farm
            words = [word.replace("2.0.4", "shot_010.0.4") for word in words]
        if name == "farm":
            words += ["--json", "127.0.0.1:0", "--listen", "127.0.0.1:0"]
        if name == "web":
            words += ["--listen", "127.0.0.1:0"]
        if "--web" in words:
            words[words.index("--web")] = "--web=127.0.0.1:0"
        if name == "agent":
            words += [] if "--server" in words else ["--server", af]
            words += ["--ca-file", "farm.pem", "--name", "canary"]
        if name == "stop":
            words.append("--yes")
        if name == "token":
            words[-1] = "new.token"
        return words


def kind(command: ShownCommand) -> str:
    """Name the command: the agent's has no name, `-cmd` and `--version` are their own."""
    first = command.words[0] if command.words else "agent"
    if first == "nimby" and len(command.words) == 1:
        return "agent"
    asks = {"-cmd", "--version"} & {*command.words}
    return "agent" if first.startswith("--") and not asks else first


def make_files(home: Path) -> None:
    quick = {
        "name": "job",
        "blocks": [{"name": "b", "command": "echo @#@", "frame_first": 1, "frame_last": 2}],
    }
    for name in ("job", "cornell", "first", "canary", "test", "JOB"):
        (home / f"{name}.json").write_text(json.dumps({"job": quick}))
    shot = {**quick, "name": "shot_010"}
    shot["blocks"] = [{"name": "render", "command": "echo @#@", "frame_first": 1, "frame_last": 12}]
    (home / "shot.json").write_text(json.dumps({"job": shot}))
    (home / "config.json").write_text(json.dumps({"cgru_config": {}}))
    (home / "render.log").write_text("Fra:1 Mem:10M\nSaved: 'a.png'\n")
    (home / "moth.log").write_text("drawing moth 1 of 3\n")
    (home / "studio" / "parsers").mkdir(parents=True)
    (home / "studio" / "parsers" / "moth.py").write_text(MOTH)
    shutil.copytree(ROOT / "examples", home / "examples", ignore=shutil.ignore_patterns("out"))
    (home / "bin").mkdir()
    for program in ("render", "blender"):
        (home / "bin" / program).write_text("#!/bin/sh\necho done\n")
        (home / "bin" / program).chmod(0o755)
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "farm.example")
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(home / "farm.pem", append=True)
    authority.cert_pem.write_to_path(home / "farm.pem", append=True)
    certificate.private_key_pem.write_to_path(home / "farm.key")
    (home / "farm.key").chmod(0o600)


@asynccontextmanager
async def open_stage(home: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DocsStage]:
    make_files(home)
    monkeypatch.setenv("PATH", f"{home / 'bin'}:{os.environ['PATH']}")
    code, line, _ = await run_command("token", "canary", "--out", "token", home=home)
    assert code == 0
    for name in ("tokens", ".config/afrender.token"):
        path = home / name
        path.parent.mkdir(exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(line if name == "tokens" else (home / "token").read_text())
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with open_native_server(listeners=listeners) as server, AsyncExitStack() as stack:
        afserver = f"af://127.0.0.1:{server.port}"
        words = ("farm", "--agents", "2", "--json", "127.0.0.1:0", "--listen", "127.0.0.1:0")
        farm = await stack.enter_async_context(
            open_command(*words, home=home, guard=LONG, TRIO_AFRENDER__NAME="vm")
        )
        await farm.says("the farm is open")
        stage = DocsStage(home=home, farm=await farm.first_line(), afserver=afserver)
        tls = ("--cert", "farm.pem", "--key", "farm.key", "--tokens", "tokens")
        serve = ("gateway", "--listen", "wss://127.0.0.1:0", *tls, "--server", afserver)
        gateway = await stack.enter_async_context(open_command(*serve, home=home, guard=LONG))
        while (found := re.search(r"wss://127.0.0.1:[1-9]\d*", gateway.out + gateway.err)) is None:
            await gateway.output()
        stage.gateway = found[0]
        yield stage
        for each in (gateway, farm):
            each.process.send_signal(signal.SIGTERM)


async def run_server(command: ShownCommand, stage: DocsStage) -> str:
    """Start a command that runs until it is stopped; stop it when it serves; return what is wrong."""
    ready = {
        "agent": "registered as render",
        "gateway": "wss://127.0.0.1",
        "farm": "the farm is open",
        "web": "http://",
        "resources": "cpu ",
    }[kind(command)]
    # Not the folder of the stage's own farm; of one name and folder there is one agent.
    other = str(stage.home / f"other-{Path(command.page).name}")
    words = stage.words(command)
    async with open_command(*words, home=stage.home, CGRU_AF_STORE_FOLDER=other) as started:
        while ready not in started.out + started.err:
            await started.output()
        started.process.send_signal(signal.SIGTERM)
        code = await started.wait()
        return "" if code == 0 else f"exit code {code}: {started.out}{started.err}"


async def run_page(commands: list[ShownCommand], stage: DocsStage, wrong: list[str]) -> None:
    """Run the commands of a page one after another; append what is wrong."""
    for command in commands:
        shown = str(command).partition("trio_afrender ")[2]
        if kind(command) in SERVERS or "--watch" in command.words:
            problem = await run_server(command, stage)
        else:
            code, out, err = await run_command(*stage.words(command), home=stage.home)
            begins = [codes for text, codes in CODES.items() if shown.startswith(text)]
            expected = begins[0] if begins else frozenset({0})
            problem = "" if code in expected else f"exit code {code}: {out + err}"
        if problem:
            wrong.append(f"{command}\n{problem}")


async def test_each_shown_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong: list[str] = []
    commands = sorted(list_commands(), key=lambda command: (command.page, command.line))
    pages = [list(group) for _, group in groupby(commands, lambda command: command.page)]
    async with open_stage(tmp_path, monkeypatch) as stage:
        for half in (pages[::2], pages[1::2]):
            async with trio.open_nursery() as nursery:
                for page in half:
                    nursery.start_soon(run_page, page, stage, wrong)
    assert not wrong, "\n\n".join(wrong)
