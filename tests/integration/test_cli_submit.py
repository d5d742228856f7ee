"""`trio_afrender submit` with a fake server that answers like an afserver."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
from support.afserver_job_api import (
    DEPENDS,
    DONE,
    ERROR,
    READY,
    RUNNING,
    SKIPPED,
    open_fake_job_server,
)
from support.cli import make_environment, open_command, run_command

JOB = {
    "job": {
        "name": "j",
        "blocks": [
            {"name": "a", "flags": 1, "frame_first": 1, "frame_last": 2, "command": "render @#@"},
            {"name": "b", "depend_mask": "a", "tasks": [{"name": "t", "command": "true"}]},
        ],
    }
}


def write_job(folder: Path, data: object = JOB) -> Path:
    path = folder / "job.json"
    path.write_text(json.dumps(data))
    return path


def row(st: int, **more: object) -> dict[str, Any]:
    return {"st": st, **more}


async def test_a_job_is_sent_and_its_id_printed(tmp_path: Path) -> None:
    job = write_job(tmp_path)
    async with open_fake_job_server() as server:
        words = ("submit", job, "--server", server.url, "--user", "ann")
        code, out, err = await run_command(*words, home=tmp_path)
    assert (code, out) == (0, "7\n")
    assert err == f'job "j" is 7 on {server.url}\n'
    [sent] = server.jobs
    assert (sent["name"], sent["user_name"]) == ("j", "ann")
    assert [block["command"] for block in sent["blocks"]] == ["render @#@", ""]


async def test_a_job_is_named_also_if_stdout_takes_nothing(tmp_path: Path) -> None:
    # Who does not learn that the server has it sends it again.
    job = write_job(tmp_path)
    async with open_fake_job_server() as server:
        words = ["submit", str(job), "--server", server.url]
        done = await trio.run_process(
            ["/bin/sh", "-c", '"$@" >&-', "sh", sys.executable, "-m", "trio_afrender", *words],
            env=make_environment(tmp_path),
            capture_stderr=True,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr.decode() == (
            f'job "j" is 7 on {server.url}\ntrio_afrender: cannot write to stdout: it is closed\n'
        )


async def test_the_server_and_the_prefix_come_from_the_settings(tmp_path: Path) -> None:
    job = write_job(tmp_path)
    async with open_fake_job_server() as server:
        port = server.url.rpartition(":")[2]
        words = ("submit", job, "--af_servername", "127.0.0.1", "--af_serverport", port)
        async with open_command(*words, home=tmp_path, AF_CMD_PREFIX="nice ") as command:
            assert await command.wait() == 0
    assert server.jobs[0]["blocks"][0]["command"] == "nice render @#@"


async def test_waiting_shows_the_progress_and_ends_with_0(tmp_path: Path) -> None:
    job, report = write_job(tmp_path), tmp_path / "report.json"
    run: dict[str, object] = {"str": 1, "tst": 1000, "hst": "r1"}
    steps = [
        [[row(READY), row(READY)], [row(DEPENDS)]],
        [[row(RUNNING, per=50, act="hm", **run), row(READY)], [row(DEPENDS)]],
        [[row(DONE, tdn=1002, **run), row(DONE | SKIPPED)], [row(DONE, tdn=1004, **run)]],
    ]
    outputs = {(0, 0, 1): "pixels\n", (1, 0, 1): "ERROR: Can't get file:\n/srv/1.txt\n"}
    async with open_fake_job_server(steps=steps, outputs=outputs) as server:
        words = ("submit", job, "--server", server.url, "--wait", "--report", report)
        code, out, err = await run_command(*words, home=tmp_path)
    assert (code, out) == (0, "7\n")
    assert "[1/3] a / frame 1: done in 2.0 s\n" in err
    assert "[2/3] a / frame 2: skipped\n" in err
    assert 'job "j": done in 4.0 s; tasks: 2 done, 1 skipped' in err
    data = json.loads(report.read_text())
    assert (data["job"], data["state"], len(data["tasks"])) == ("j", "done", 3)
    first, _, silent = data["tasks"]
    assert silent["output"] == ""
    assert (first["render"], first["output"], first["log"]) == (
        "r1",
        "pixels\n",
        "log of (0, 0, 0)",
    )


async def test_a_failed_task_ends_the_wait_with_1_and_shows_its_output(tmp_path: Path) -> None:
    job = write_job(tmp_path)
    run: dict[str, object] = {"tst": 1000, "tdn": 1001, "hst": "r1"}
    steps = [
        [[row(RUNNING, str=2, err=1, **run), row(DONE, str=1, **run)], [row(READY)]],
        [[row(ERROR, str=2, err=2, **run), row(DONE, str=1, **run)], [row(READY)]],
    ]
    outputs = {(0, 0, 1): "first words\n", (0, 0, 2): "no licence\n"}
    # An afserver reports tasks of a block that waits for another one as ready.
    waiting = {"blocks": [{"st": RUNNING}, {"st": DEPENDS}]}
    async with open_fake_job_server(steps=steps[:1], outputs=outputs, job=waiting) as server:
        words = ("submit", job, "--server", server.url, "--wait")
        async with open_command(*words, home=tmp_path) as command:
            # Of several changes between two looks only the last one is shown.
            await command.says("trying again")
            server.steps.append(steps[1])
            assert await command.wait() == 1
    assert command.out == "7\n"
    assert "trying again\n    | first words\n" in command.err
    assert "failed: a / frame 1: 2 tries\n    | no licence\n" in command.err
    assert 'job "j": error' in command.err
    assert "tasks: 1 done, 1 error, 1 not run" in command.err


@pytest.mark.usefixtures("plain_hangup")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGHUP])
async def test_a_signal_ends_the_wait_and_not_the_job(tmp_path: Path, end: signal.Signals) -> None:
    job = write_job(tmp_path)
    steps = [[[row(RUNNING, str=1, tst=1000), row(READY)], [row(DEPENDS)]]]
    async with open_fake_job_server(steps=steps, job={"st": 1 << 9}) as server:
        words = ("submit", job, "--server", server.url, "--wait")
        report = ("--report", tmp_path / "r.json") if end == signal.SIGHUP else ()
        async with open_command(*words, *report, home=tmp_path) as command:
            await command.says("is 7 on")
            command.process.send_signal(end)
            assert await command.wait() == 1
    lost = "; no report was written, it needs the end of the job" if report else ""
    assert command.err.endswith(f"no longer waiting: job 7 continues on the server{lost}\n")
    assert not (tmp_path / "r.json").exists()


async def test_the_reason_is_shown_for_a_paused_job(tmp_path: Path) -> None:
    job = write_job(tmp_path)
    steps = [[[row(READY), row(READY)], [row(READY)]]]
    async with open_fake_job_server(steps=steps, job={"st": 1 << 9}) as server:
        words = ("submit", job, "--server", server.url, "--wait")
        async with open_command(*words, home=tmp_path) as command:
            await command.says("nothing runs: job 7 is paused on the server")
            command.process.send_signal(signal.SIGTERM)


async def test_a_job_that_is_deleted_ends_the_wait_with_1(tmp_path: Path) -> None:
    job = write_job(tmp_path)
    steps = [[[row(READY), row(READY)], [row(READY)]]]
    async with open_fake_job_server(steps=steps, deleted=True) as server:
        words = ("submit", job, "--server", server.url, "--wait", "--no-progress")
        code, out, err = await run_command(*words, home=tmp_path)
    assert (code, out) == (1, "7\n")
    assert "job 7 is not on the server any more: it was deleted" in err


async def test_another_job_with_the_same_number_is_recognized(tmp_path: Path) -> None:
    job = write_job(tmp_path)
    steps = [[[row(DONE), row(DONE)], [row(DONE)]]]
    async with open_fake_job_server(steps=steps, job={"serial": 12}) as server:
        words = ("submit", job, "--server", server.url, "--wait")
        code, _, err = await run_command(*words, home=tmp_path)
    assert code == 1
    assert "it was deleted" in err


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ({"id": 0, "serial": 0, "error": "Invalid job."}, "refused by the server: Invalid job."),
        ({"info": {"kind": "error", "text": "not allowed"}}, "refused by the server: not allowed"),
        ({}, "refused by the server: the server created no job"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not the Afanasy protocol"),
        (b"", "hung up without an answer"),
        (b"\x00\x00\x00\x51\x00\x00\x00\x18\x00\x00\x00\x02[]", "its answer is no JSON object"),
        (b"\x00\x00\x00\x51\x00\x00\x00\x18\x00\x00\x00\x02{x", "its answer is no JSON"),
        (b"\x00\x00\x00\x51\x00\x00\x00\x08\x00\x00\x00\x02", "answered with RenderId, not with"),
    ],
)
async def test_a_refusal_is_one_sentence_and_exit_code_3(
    tmp_path: Path, answer: dict[str, Any] | bytes, sentence: str
) -> None:
    job = write_job(tmp_path)
    async with open_fake_job_server(answer=answer) as server:
        code, out, err = await run_command("submit", job, "--server", server.url, home=tmp_path)
    assert (code, out) == (3, "")
    assert sentence in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--server", "127.0.0.1:1"], 3, "af://127.0.0.1:1: no server listens there"),
        (["--server", "af://127.0.0.1:1"], 3, "no server listens there (connection refused)"),
        (["--server", "ws://127.0.0.1:1"], 2, "this command is for a farm with"),
        (["--server", "af://127.0.0.1:1/x"], 2, "expected af://HOST or af://HOST:PORT"),
        ([], 3, "no farm is open on this machine, and no server is set; open a farm with"),
        (["--server", "af://h", "--report", "r.json"], 2, "give --wait, too"),
        (["--server", "af://h", "--wait", "--report", "/no/r"], 2, "is missing or not writable"),
    ],
)
async def test_a_failed_submission_is_one_sentence(
    tmp_path: Path, words: list[str], code: int, sentence: str
) -> None:
    found = await run_command("submit", write_job(tmp_path), *words, home=tmp_path)
    assert found[:2] == (code, "")
    assert sentence in found[2]
    assert found[2].count("\n") == 1


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"job": {"name": "x", "blocks": []}}, "blocks: empty"),
        (
            {"job": {"blocks": [{"tasks": [{}], "errors_retries": 200}]}},
            "200 is more than a server",
        ),
    ],
)
async def test_a_job_that_would_crash_the_server_is_not_sent(
    tmp_path: Path, data: object, sentence: str
) -> None:
    async with open_fake_job_server() as server:
        job = write_job(tmp_path, data)
        code, _, err = await run_command("submit", job, "--server", server.url, home=tmp_path)
    assert (code, server.jobs) == (2, [])
    assert sentence in err
