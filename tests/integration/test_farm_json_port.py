"""The JSON interface on a real port: its limits, its page, large jobs, who the client is."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from trio_afrender.async_helpers import open_bare_nursery
from trio_afrender.config.settings import Token
from trio_afrender.errors import ConfigError
from trio_afrender.farm import Farm, open_farm
from trio_afrender.farm.json_interface import json_server, open_requests, serve_json
from trio_afrender.transport import socket_owner
from trio_afrender.transport.websocket_server import BoundAddress

GUARD = 60.0
"""Seconds after which a test has failed."""
TOKEN = Token("secret")
USERS = {"get": {"type": "users"}}


@asynccontextmanager
async def open_port(
    folder: Path | None = None, *, gui_folder: Path | None = None
) -> AsyncIterator[tuple[BoundAddress, Farm]]:
    """Open a farm, in memory without a folder, and serve its JSON on a free port."""
    with trio.fail_after(GUARD):
        async with (
            open_farm(folder) as farm,
            open_requests(farm, gui_folder) as requests,
            open_bare_nursery() as nursery,
        ):
            serve = partial(serve_json, requests, "127.0.0.1", 0, token=TOKEN)
            yield await nursery.start(serve), farm


async def exchange(port: int, data: bytes) -> bytes:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(data)
        answer = bytearray()
        while part := await stream.receive_some():
            answer += part
        return bytes(answer)


async def ask(port: int, request: object) -> Any:  # noqa: ANN401 - JSON
    body = json.dumps(request).encode()
    answer = await exchange(port, b"AFANASY %d JSON%b" % (len(body), body))
    return json.loads(answer[answer.index(b"{") :])


async def test_the_user_of_the_farm_is_answered() -> None:
    async with open_port() as (address, _):
        assert await ask(address.port, USERS) == {"users": []}
        assert address.url == f"http://127.0.0.1:{address.port}"


async def test_another_user_is_refused_without_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_owner, "find_owner", lambda peer, local: os.geteuid() + 1)
    async with open_port() as (address, _):
        refused = await ask(address.port, USERS)
        assert "another user of this machine" in refused["info"]["text"]
        assert await ask(address.port, {**USERS, "token": "secret"}) == {"users": []}


async def test_a_client_whose_owner_is_not_found_is_another_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket_owner, "find_owner", lambda peer, local: None)
    async with open_port() as (address, _):
        assert "another user" in (await ask(address.port, USERS))["info"]["text"]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org", ""])  # noqa: S104 - refused
async def test_other_addresses_are_refused(host: str) -> None:
    async with open_farm(None) as farm, open_requests(farm) as requests:
        with pytest.raises(ConfigError, match="only loopback addresses are allowed"):
            await serve_json(requests, host, 0, token=TOKEN)


async def test_a_port_in_use_names_its_program() -> None:
    async with open_port() as (address, farm), open_requests(farm) as requests:
        with pytest.raises(ConfigError, match=f"{address.port}: .* by .*process {os.getpid()}"):
            await serve_json(requests, "127.0.0.1", address.port, token=TOKEN)


async def test_so_many_connections_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Further ones wait until one ends."""
    async with open_port() as (address, _), trio.open_nursery() as nursery:
        connect = partial(trio.open_tcp_stream, "127.0.0.1", address.port)
        silent = [await connect() for _ in range(json_server.MAX_CONNECTIONS)]
        answered = trio.Event()

        async def wait() -> None:
            assert await ask(address.port, USERS) == {"users": []}
            answered.set()

        nursery.start_soon(wait)
        # The last silent one is served: it gets its answer although 64 are open.
        body = json.dumps(USERS).encode()
        await silent[-1].send_all(b"AFANASY %d JSON%b" % (len(body), body))
        assert await silent[-1].receive_some()
        assert not answered.is_set()
        await silent[0].aclose()
        await answered.wait()
        for stream in silent:
            await stream.aclose()


async def test_without_the_port_the_farm_collects_no_changes() -> None:
    with trio.fail_after(GUARD):
        async with open_farm(None) as farm:
            async with open_requests(farm) as requests, open_bare_nursery() as nursery:
                serve = partial(serve_json, requests, "127.0.0.1", 0, token=TOKEN)
                address = await nursery.start(serve)
                await ask(address.port, {"monitor": {"user_name": "u", "host_name": "h"}})
                farm.state.changes.note_job(2, "change")
                assert farm.state.changes.take().jobs.changed
            farm.state.changes.note_job(2, "change")
            assert not farm.state.changes.take().jobs.changed


async def test_a_large_job_and_its_progress() -> None:
    tasks = [{"name": f"t{i}", "command": "true"} for i in range(10_000)]
    block = {"name": "b", "service": "generic", "tasks": tasks}
    async with open_port() as (address, _):
        job = {"name": "j", "user_name": "u", "blocks": [block]}
        assert await ask(address.port, {"job": job}) == {"id": 2, "serial": 1}
        asked = {"get": {"type": "jobs", "ids": [2], "mode": "progress"}}
        (items,) = (await ask(address.port, asked))["job_progress"]["progress"]
        assert len(items) == 10_000
        full = await ask(address.port, {"get": {"type": "jobs", "ids": [2], "mode": "full"}})
        assert full["jobs"][0]["blocks"][0]["tasks"][9999]["name"] == "t9999"
        job["blocks"] = [block, {**block, "tasks": [5]}]
        refused = await ask(address.port, {"job": job})
        assert "blocks[1].tasks[0]" in refused["info"]["text"]


async def test_the_page_of_a_studio(tmp_path: Path) -> None:
    page = tmp_path / "afanasy" / "browser"
    page.mkdir(parents=True)
    (page / "index.html").write_text("<html>")
    (tmp_path / "icons" / "software").mkdir(parents=True)
    (tmp_path / "icons" / "software" / "blender.png").write_bytes(b"png")
    (tmp_path / "config_default.json").write_text('{"cgru_config":{"a":1}}')
    (tmp_path / "config.json").write_text('{"cgru_config":{"secret":1}}')
    async with open_port(gui_folder=tmp_path) as (address, _):
        answer = await exchange(address.port, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\n<html>")
        for target in (b"/config.json", b"/../x.png", b"/nothing.png"):
            answer = await exchange(address.port, b"GET %b HTTP/1.1\r\n\r\n" % target)
            assert answer.startswith(b"HTTP/1.1 404 "), target
        icons = {"get": {"type": "files", "path": "icons/software"}}
        assert (await ask(address.port, icons))["files"] == ["blender.png"]
        settings = (await ask(address.port, {"get": {"type": "config"}}))["cgru_config"]
        assert {"cgru_config": {"a": 1}} in settings
        assert "secret" not in json.dumps(settings)


async def test_a_file_on_disk(tmp_path: Path) -> None:
    async with open_port(tmp_path / "store") as (address, farm):
        await ask(
            address.port,
            {"job": {"name": "j", "user_name": "u", "blocks": [
                {"name": "b", "tasks": [{"name": "t", "command": "true"}]}]}},
        )  # fmt: skip
        task = farm.state.jobs[2].blocks[0].tasks[0]
        path = farm.state.texts.path(task.key, "a.png")
        path.parent.mkdir(parents=True)
        path.write_bytes(b"picture")
        request = f"GET /@TMP@{path} HTTP/1.1\r\n\r\n".encode()
        # The farm does not know the file: no render has sent it.
        assert (await exchange(address.port, request)).startswith(b"HTTP/1.1 404 ")
        task.files["a.png"] = None
        answer = await exchange(address.port, request)
        assert b"image/png" in answer
        assert answer.endswith(b"picture")
        path.unlink()
        path.symlink_to("/etc/passwd")
        assert (await exchange(address.port, request)).startswith(b"HTTP/1.1 404 ")


async def test_a_restart_keeps_what_is_shown(tmp_path: Path) -> None:
    block = {"name": "b", "flags": 1, "frame_first": 1, "frame_last": 3, "command": "x"}
    job = {"name": "j", "user_name": "ann", "annotation": "a", "blocks": [block]}
    asked = [
        {"get": {"type": "jobs", "mode": "full"}},
        {"get": {"type": "jobs", "ids": [2], "mode": "progress"}},
        {"get": {"type": "jobs", "ids": [2], "mode": "log"}},
        {"get": {"type": "jobs", "ids": [2], "block_ids": [0], "task_ids": [1], "mode": "log"}},
        {"get": {"type": "users"}},
        {"get": {"type": "users", "ids": [2], "mode": "jobs_order"}},
        {"get": {"type": "pools"}},
    ]
    act = {"user_name": "ann", "host_name": "ws1"}
    changes: list[dict[str, object]] = [
        {"type": "jobs", "ids": [2], "params": {"priority": 7, "folders": {"output": "/x"}}},
        {"type": "jobs", "ids": [2], "block_ids": [0], "params": {"capacity": 5}},
        {"type": "jobs", "ids": [2], "operation": {"type": "pause"}},
        {"type": "users", "ids": [2], "params": {"errors_retries": 1}},
        {"type": "pools", "ids": [1], "params": {"annotation": "p", "idle_cpu": 5}},
    ]
    async with open_port(tmp_path) as (address, farm):
        await ask(address.port, {"job": job})
        for change in changes:
            answer = await ask(address.port, {"action": {**act, **change}})
            assert answer["info"]["kind"] == "log", answer
        skip = {"type": "jobs", "ids": [2], "block_ids": [0]}
        operation = {"type": "skip", "task_ids": [1]}
        await ask(address.port, {"action": {**act, **skip, "operation": operation}})
        task = farm.state.jobs[2].blocks[0].tasks[1]
        task.files["a.jpg"] = None
        farm.state.jobs[2].thumbnail = (task.key, "a.jpg")
        farm.state.touch(task)
        farm.dispatch()
        before = [await ask(address.port, each) for each in asked]
    async with open_port(tmp_path) as (address, _):
        after = [await ask(address.port, each) for each in asked]
        assert await ask(address.port, {"job": job}) == {"id": 3, "serial": 2}
    # The pool is as old as the farm that is open.
    for pools in (before, after):
        pools[-1]["pools"][0].pop("time_creation")
    assert after == before
    (shown,) = before[0]["jobs"]
    assert shown["thumb_path"].endswith("/2/0.1/files/a.jpg")
    assert shown["state"] == " RDY SKP OFF"
