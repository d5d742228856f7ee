"""`trio_afrender farm` as a program, and the commands that look at it and steer it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from support.agent_program import write_job
from support.cli import (
    Command,
    make_environment,
    make_gate,
    open_command,
    open_gate,
    pass_gate,
    run_command,
)

from trio_afrender.afserver.client import Dialer
from trio_afrender.afserver.remote_farm import RemoteFarm
from trio_afrender.afserver.remote_nodes import JobNode
from trio_afrender.cli.farm_record import find_open_farms

_STORE = "store"


@asynccontextmanager
async def open_farm_program(
    home: Path, *words: str | Path, leaves: bool = False, port: int = 0
) -> AsyncIterator[tuple[Command, str]]:
    """Start a farm; yield it and its address once it is open. It is closed at the end."""
    store = ("--af_store_folder", home / _STORE)
    line = ("farm", *words, "--json", f"127.0.0.1:{port}", *store)
    async with open_command(*line, home=home, leaves=leaves) as command:
        while "\n" not in command.out:
            await command.output()
        yield command, await command.first_line()
        if command.process.poll() is None:
            command.process.send_signal(signal.SIGTERM)


async def ask(home: Path, *words: str | Path) -> tuple[int, str, str]:
    """Run a command for the farm that is open in `home`."""
    return await run_command(*words, "--af_store_folder", home / _STORE, home=home)


async def look(home: Path, *words: str | Path) -> Any:  # noqa: ANN401 - JSON
    code, out, err = await ask(home, *words, "--json")
    assert code == 0, err
    return json.loads(out)


_PAUSE = 0.02
"""Seconds between two requests for a state, which no event reports to a client."""


def _connect(home: Path) -> RemoteFarm:
    """A client in this process: a command for each request would take a second."""
    [record] = find_open_farms(home / _STORE)
    return RemoteFarm(
        dialer=Dialer(record.address), user_name="test", host_name="test", token=record.token
    )


async def until_state(home: Path, word: str) -> JobNode:
    """Wait until the job of a farm has a state."""
    farm = _connect(home)
    while True:
        for job in await farm.jobs():
            if word in job.states:
                return job
        await trio.sleep(_PAUSE)


async def until_render(home: Path) -> None:
    """Wait until a farm has a render: its address is printed before its agents have registered."""
    farm = _connect(home)
    while not await farm.renders():  # noqa: ASYNC110 - as above
        await trio.sleep(_PAUSE)


@pytest.mark.usefixtures("plain_hangup")
async def test_a_farm_runs_the_jobs_it_is_given_and_closes(tmp_path: Path) -> None:
    job = write_job(tmp_path, "echo one", "exit 5", errors_retries=0)
    async with open_farm_program(tmp_path, job, "--agents", "2") as (command, url):
        assert url.startswith("af://127.0.0.1:")
        found = await until_state(tmp_path, "ERR")
        while found.count("done") == 0:
            found = await until_state(tmp_path, "ERR")
        assert (found.count("done"), found.count("error")) == (1, 1)
        key = f"{found.id}.0.0"
        assert (await ask(tmp_path, "output", key))[:2] == (0, "one\n")
        [render, _] = await look(tmp_path, "renders")
        assert render["states"][0] == "ONL"
        code, out, err = await ask(tmp_path, "why", f"{found.id}.0.1")
        assert code == 0
        assert out.startswith(f"{found.id}.0.1  task ")
        [_, log] = out.split("\n  Its log:\n")
        assert "exit code 5" in log
        explained = await look(tmp_path, "why", f"{found.id}.0.1")
        assert (explained["job_name"], explained["why"]) == ("j", None)
        assert any("exit code 5" in line for line in explained["log"])
        command.process.send_signal(signal.SIGHUP)
        assert await command.wait() == 0
    assert "no new tasks; the farm closes after the running ones" in command.err
    code, out, err = await ask(tmp_path, "jobs")
    assert (code, out) == (3, "")
    assert "no farm is open on this machine" in err


async def test_jobs_states_outputs_and_settings_survive_a_kill(tmp_path: Path) -> None:
    up, gate = make_gate(tmp_path / "up"), make_gate(tmp_path / "gate")
    waiting = f"echo up; echo up > {up}; read x < {gate}; echo two"
    job = write_job(tmp_path, "echo one", waiting)
    async with open_farm_program(tmp_path, job, leaves=True) as (command, _):
        await pass_gate(up)
        running = await until_state(tmp_path, "RUN")
        assert running.count("done") == 1
        name = (await look(tmp_path, "renders"))[0]["name"]
        assert (await ask(tmp_path, "set", "render", name, "priority=77"))[0] == 0
        # Read from the disk when all that has changed is stored there.
        assert await ask(tmp_path, "output", f"{running.id}.0.0") == (0, "one\n", "")
        command.process.kill()
        await command.wait()
    # Its record is still there and does not count.
    assert (await ask(tmp_path, "jobs"))[0] == 3
    async with open_farm_program(tmp_path) as (_, _url):
        [render] = await look(tmp_path, "renders")
        assert render["priority"] == 77
        await open_gate(gate)
        found = await until_state(tmp_path, "DON")
        number = found.id
        assert await ask(tmp_path, "output", f"{number}.0.0") == (0, "one\n", "")
        assert (await ask(tmp_path, "output", f"{number}.0.1"))[1] == "up\ntwo\n"
        tasks = await look(tmp_path, "tasks", str(number))
        assert [task["starts"] for task in tasks] == [1, 1]


async def test_a_drain_waits_for_running_tasks_and_a_second_signal_does_not(
    tmp_path: Path,
) -> None:
    up, gate = make_gate(tmp_path / "up"), make_gate(tmp_path / "gate")
    job = write_job(tmp_path, f"echo up > {up}; read x < {gate}")
    async with open_farm_program(tmp_path, job) as (command, _):
        # A task whose process does not run yet would be given back at once.
        await pass_gate(up)
        command.process.send_signal(signal.SIGINT)
        await command.says("Ctrl-C: no new tasks")
        # The interface still answers, and nothing new is started.
        assert (await look(tmp_path, "jobs"))[0]["running"] == 1
        command.process.send_signal(signal.SIGTERM)
        await command.says("SIGTERM: stopping the running tasks")
        assert await command.wait() == 0
    async with open_farm_program(tmp_path) as (_, _url):
        await pass_gate(up)  # it was queued again
        found = await until_state(tmp_path, "RUN")
        assert (found.count("done"), found.count("error")) == (0, 0)
        await open_gate(gate)
        await until_state(tmp_path, "DON")


async def test_an_agent_of_this_machine_joins_with_the_token_file(tmp_path: Path) -> None:
    words = ("--agents", "0", "--listen", "127.0.0.1:0")
    async with open_farm_program(tmp_path, *words) as (command, _):
        [line] = [each for each in command.err.splitlines() if "other agents" in each]
        server, file = line.split("--server ")[1].split(" --token-file ")
        assert _mode(file) == 0o600
        agent = ("agent", "--server", server, "--token-file", file, "--name", "guest")
        store = ("--store", tmp_path / "agent")
        async with open_command(*agent, *store, home=tmp_path) as guest:
            await until_render(tmp_path)
            code, _, err = await ask(tmp_path, "exit", "guest", "--yes")
            assert code == 0, err
            assert await guest.wait() == 0


def _mode(path: str) -> int:
    return Path(path).stat().st_mode & 0o777


async def test_a_port_in_use_is_named_with_its_program(tmp_path: Path) -> None:
    async with open_farm_program(tmp_path, "--agents", "0") as (command, url):
        address = url.removeprefix("af://")
        for words in (("--json", address), ("--json", "127.0.0.1:0", "--listen", address)):
            line = ("farm", *words, "--store", tmp_path / "other", "--agents", "0")
            code, out, err = await ask(tmp_path, *line)
            assert (code, out) == (2, "")
            assert "Address already in use, by " in err
            assert f"(process {command.process.pid})" in err
        store = ("--store", tmp_path / "mine", "--agents", "0", "--json", "127.0.0.1:0")
        job = write_job(tmp_path, "true")
        code, out, err = await ask(tmp_path, "farm", job, *store, "--web", address)
        assert (code, out) == (2, "")
        assert f"cannot serve the page on {address}: Address already in use" in err
        assert 'job "' not in err, "the next try would submit it again"
        async with open_command("farm", *store, home=tmp_path) as other:
            while "\n" not in other.out:
                await other.output()
            code, _, err = await ask(tmp_path, "farm", *store)
            assert code == 3
            assert "another farm uses it: give another --store" in err
            other.process.send_signal(signal.SIGTERM)


async def test_a_farm_that_cannot_print_its_address_has_no_job(tmp_path: Path) -> None:
    store = ("--store", tmp_path / "mine", "--agents", "0")
    job = write_job(tmp_path, "true")
    line = ("farm", job, *store, "--json", "127.0.0.1:0", "--af_store_folder", tmp_path / _STORE)
    full = ("sh", "-c", 'exec "$@" >/dev/full', "sh")
    async with open_command(*line, home=tmp_path, wrapper=full) as command:
        await command.wait()
    assert "cannot write to stdout: No space left on device" in command.err
    assert 'job "' not in command.err, "the next try would submit it again"
    async with open_farm_program(tmp_path, *store):
        assert await look(tmp_path, "jobs") == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--json", "0.0.0.0:51000"], '--json "0.0.0.0": not an address of loopback'),
        (["--listen", "192.0.2.1:1"], "for more hosts run an afserver"),
        (["--json", "51000"], '--json "51000": expected HOST:PORT'),
        (["--gui", "."], "it has no afanasy/browser/index.html"),
        (["--gui", "x" * 300], "it has no afanasy/browser/index.html"),
        (["--agents", "65"], "expected 0 to 64"),
        # Without a page they would protect nothing.
        (["--read-only"], "--read-only is for the page: give --web, too"),
        (["--key", "k.pem"], "--key is for the page: give --web, too"),
        (["no.json"], "no.json: No such file or directory"),
        (["--plugins", "nowhere"], "plugin folder"),
    ],
)
async def test_bad_usage_is_one_sentence(tmp_path: Path, words: list[str], sentence: str) -> None:
    code, out, err = await ask(tmp_path, "farm", *words)
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1
    assert not (tmp_path / _STORE).exists()


async def test_damaged_records_are_kept_unless_they_may_be_moved(tmp_path: Path) -> None:
    store = tmp_path / "mine"
    async with open_farm_program(tmp_path, "--agents", "0", "--store", store):
        pass
    [file] = (store / "farm").glob("*.sqlite3")
    file.write_bytes(b"not a database" * 1000)
    line = ("farm", "--agents", "0", "--store", store, "--json", "127.0.0.1:0")
    code, _, err = await ask(tmp_path, *line)
    assert code == 2
    assert "is damaged" in err
    assert file.read_bytes().startswith(b"not a database")
    async with open_farm_program(tmp_path, "--agents", "0", "--store", store, "--move-damaged"):
        assert await look(tmp_path, "jobs") == []


async def test_commands_steer_jobs_and_renders(tmp_path: Path) -> None:
    gate = make_gate(tmp_path / "gate")
    job = write_job(tmp_path, f"read x < {gate}", "echo two", "echo three")
    async with open_farm_program(tmp_path, job) as (_, url):
        await until_state(tmp_path, "RUN")
        [render] = await look(tmp_path, "renders")
        name = render["name"]
        [waiting] = await look(tmp_path, "jobs", "--why")
        [why] = waiting["why"]
        assert why["tasks"] == 2
        assert "capacity" in why["renders"][name][0]
        number = str(waiting["id"])
        code, out, _ = await ask(tmp_path, "why", f"{number}.0.2")
        assert code == 0
        assert "\n  It waits:\n    " in out
        assert "capacity" in out
        for words, line in (
            (("pause", number), f'paused job {number} "j" on {url}\n'),
            (("start", number), f'started job {number} "j" on {url}\n'),
            (("nimby", name), f"set nimby of render {name} on {url}\n"),
            (("free", name), f"freed render {name} on {url}\n"),
            (("skip", f"{number}.0.1"), f"skipped {number}.0.1 on {url}\n"),
            (("set", "job", "j", "priority=7"), f'set priority of job {number} "j" on {url}\n'),
        ):
            assert await ask(tmp_path, *words) == (0, "", line)
        code, out, err = await ask(tmp_path, "set", "job", "j", "priority=300")
        assert (code, out) == (2, "")
        assert 'priority: "300": expected a whole number from 0 to 255' in err
        code, out, err = await ask(tmp_path, "eject", name)
        assert (code, out) == (2, "")
        assert f"eject render {name} on {url}: 1 running task," in err
        code, out, err = await ask(tmp_path, "delete", "zzz*", "--yes")
        assert (code, out, err) == (1, "", 'trio_afrender: no job matches "zzz*"; there are 1\n')
        done = await look(tmp_path, "stop", number, "--yes")
        assert done["done"] == [{"kind": "job", "id": int(number), "name": "j"}]
        lines = (await look(tmp_path, "log", "job", "j"))[0]["lines"]
        assert any("jobs stop: j@" in each for each in lines)
        await until_state(tmp_path, "OFF")
        assert (await look(tmp_path, "delete", number, "--yes"))["problems"] == []


async def test_output_is_followed_until_the_end(tmp_path: Path) -> None:
    gate = make_gate(tmp_path / "gate")
    job = write_job(tmp_path, f"echo one; read x < {gate}; echo two")
    async with open_farm_program(tmp_path, job):
        [found] = await look(tmp_path, "jobs")
        words = ("output", f"{found['id']}.0.0", "--follow")
        store = ("--af_store_folder", tmp_path / _STORE)
        async with open_command(*words, *store, home=tmp_path) as follower:
            while follower.out != "one\n":
                await follower.output()
            await open_gate(gate)
            assert await follower.wait() == 0
        assert follower.out == "one\ntwo\n"


async def test_watching_ends_with_a_signal(tmp_path: Path) -> None:
    async with open_farm_program(tmp_path):
        await until_render(tmp_path)
        words = ("renders", "--watch", "0.1", "--json", "--af_store_folder", tmp_path / _STORE)
        async with open_command(*words, home=tmp_path) as watcher:
            while watcher.out.count("\n") < 2:
                await watcher.output()
            watcher.process.send_signal(signal.SIGINT)
            assert await watcher.wait() == 0
        for line in watcher.out.splitlines()[:2]:
            assert json.loads(line)[0]["states"][0] in ("ONL", "OFF")
        table = ("jobs", "--watch", "0.1", "--af_store_folder", tmp_path / _STORE)
        async with open_command(*table, home=tmp_path, out_terminal=True) as watcher:
            while "0 jobs" not in watcher.out:
                await watcher.output()
            watcher.process.send_signal(signal.SIGINT)
            assert await watcher.wait() == 0


async def test_a_question_on_a_terminal(tmp_path: Path) -> None:
    """`no` does nothing; `yes` does it."""
    job = write_job(tmp_path, "echo one")
    async with open_farm_program(tmp_path, job):
        [found] = await look(tmp_path, "jobs")
        for answer, code, left in ((b"\n", 1, 1), (b"y\n", 0, 0)):
            assert await _answer(tmp_path, answer, "delete", str(found["id"])) == code
            assert len(await look(tmp_path, "jobs")) == left


async def _answer(home: Path, answer: bytes, *words: str) -> int:
    """Run a command on a terminal, answer its question, and return its exit code."""
    ours, theirs = os.openpty()
    line = [*words, "--af_store_folder", str(home / _STORE)]
    try:
        async with await trio.open_file(ours, "rb", buffering=0, closefd=False) as screen:
            import sys

            process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "trio_afrender", *line],
                stdin=theirs,
                stderr=theirs,
                env=make_environment(home),
                cwd=home,
            )
            shown = b""
            with trio.fail_after(60):
                while b"[y/N]" not in shown:
                    shown += await screen.read(4096)
                os.write(ours, answer)
                return await process.wait()
    finally:
        os.close(ours)
        os.close(theirs)


async def test_submit_sends_a_job_to_the_open_farm_and_follows_it(tmp_path: Path) -> None:
    job = write_job(tmp_path, "echo one", "exit 5", errors_retries=0)
    report = tmp_path / "report.json"
    async with open_farm_program(tmp_path) as (_, url):
        code, out, err = await ask(tmp_path, "submit", job, "--wait", "--report", report)
        assert (code, out) == (1, "2\n")
        assert f'job "j" is 2 on {url}' in err
        assert 'job "j": error' in err
    tasks = json.loads(report.read_text())["tasks"]
    assert [(task["state"], task["output"]) for task in tasks] == [("done", "one\n"), ("error", "")]
