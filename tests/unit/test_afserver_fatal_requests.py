"""Requests that end an afserver are never sent."""

from __future__ import annotations

import pytest
import trio

from trio_afrender.afserver.client import Dialer
from trio_afrender.afserver.fatal_requests import find_fatal
from trio_afrender.afserver.json_api import ask_json
from trio_afrender.errors import ConfigError
from trio_afrender.transport.address import NativeAddress

TASK = {"name": "t", "command": "true"}
BLOCK = {"name": "b", "tasks": [TASK]}
JOB = {"name": "j", "user_name": "ann", "blocks": [BLOCK]}
NUMERIC = {"name": "n", "flags": 1, "frame_first": 1, "frame_last": 2}


def act(**more: object) -> dict[str, object]:
    return {"action": {"type": "jobs", "ids": [1], **more}}


def deep(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return {"get": value}


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"job": 5}, "the job is no object"),
        ({"job": {}}, "no user_name"),
        ({"job": {**JOB, "user_name": ""}}, "no user_name"),
        ({"job": {**JOB, "user_name": 7}}, "no user_name"),
        ({"job": {**JOB, "id": 7}}, "an id of its own"),
        ({"job": {**JOB, "blocks": []}}, "no blocks"),
        ({"job": {**JOB, "blocks": [5]}}, "block 0 is no object"),
        ({"job": {**JOB, "blocks": [BLOCK, {}]}}, "block 1: it has no tasks"),
        ({"job": {**JOB, "blocks": [{"tasks": [5]}]}}, "a task is no object"),
        ({"job": {**JOB, "blocks": [{"tasks_num": 3}]}}, "it has no tasks"),
        ({"monitor": 5}, "the monitor is no object"),
        (act(ids=[2, -1]), "an id is negative"),
        (act(block_ids=[-1, 0]), "a block number is negative"),
        (act(operation={"type": "skip", "task_ids": [-1]}), "a task number is negative"),
        (act(operation={"type": "append_tasks", "tasks": [5]}), "a task is no object"),
        (act(operation={"type": "append_blocks", "blocks": [5]}), "block 0 is no object"),
        ({"get": {"type": "jobs", "ids": [1], "block_ids": [-1]}}, "a block number is negative"),
        (deep(2000), "nested more than 1000 deep"),
    ],
)
def test_a_fatal_request_is_not_sent(request_: object, reason: str) -> None:
    assert reason in find_fatal(request_)

    async def refuse(host: str, port: int) -> trio.abc.Stream:
        raise AssertionError("connected")

    dialer = Dialer(NativeAddress(host="farm", port=1), open_stream=refuse)
    with pytest.raises(ConfigError, match="would end an afserver"):
        trio.run(ask_json, dialer, request_)


@pytest.mark.parametrize(
    "request_",
    [
        {"job": JOB},
        {"job": {**JOB, "blocks": [NUMERIC]}},
        {"monitor": {"user_name": "ann"}},
        act(block_ids=[-1]),
        act(operation={"type": "append_tasks", "tasks": [TASK]}),
        act(operation={"type": "append_blocks", "blocks": [BLOCK]}),
        {"get": {"type": "jobs", "ids": [-5]}},
        deep(900),
        [],
    ],
)
def test_others_are(request_: object) -> None:
    assert find_fatal(request_) == ""
