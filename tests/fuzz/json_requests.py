"""Requests to the JSON interface of a farm: their bytes, and what the farm answers to them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import trio
import trio.testing

from fuzz.targets import Target
from trio_afrender.async_helpers import open_bare_nursery
from trio_afrender.farm import open_farm, parse_job
from trio_afrender.farm.json_interface.answers import BinaryAnswer, encode_json
from trio_afrender.farm.json_interface.asker import Asker
from trio_afrender.farm.json_interface.http_head import HttpRefused, find_foreign
from trio_afrender.farm.json_interface.request_body import BadJson, parse_root
from trio_afrender.farm.json_interface.request_reader import (
    FramedRequest,
    RequestReader,
    RequestRefused,
)
from trio_afrender.farm.json_interface.root_requests import RootRequests

__all__ = ("TARGETS",)

RECORDED = Path(__file__).parents[1] / "data" / "afanasy_json" / "exchanges.json"
LIMIT = 100_000
JOB = {
    "name": "j",
    "user_name": "user1",
    "blocks": [
        {"name": "b", "service": "generic", "tasks": [{"name": "t", "command": "x"}]},
        {"name": "n", "service": "generic", "flags": 1, "frame_first": 1, "frame_last": 9},
    ],
}


def frame(data: bytes) -> None:
    """A frame as a whole and in pieces: the results must be equal."""
    whole, problem = _read(data, len(data) or 1)
    rng = random.Random(len(data))  # noqa: S311 - must be repeatable
    pieces, _ = _read(data, rng.randint(1, 64))
    if problem is not None:
        raise problem
    assert pieces == whole
    if whole is not None and whole.head is not None:
        find_foreign(whole.head)


def _read(data: bytes, size: int) -> tuple[FramedRequest | None, RequestRefused | None]:
    reader = RequestReader(limit=LIMIT)
    try:
        for at in range(0, len(data), size):
            request = reader.feed(data[at : at + size])
            if request is not None:
                return request, None
    except RequestRefused as refusal:
        return None, refusal
    return None, None


def answer(data: bytes) -> None:
    """A request to a farm with a job and a monitor: the answer is JSON, whatever is asked."""
    root = parse_root(data)
    trio.run(_answer, root, clock=trio.testing.MockClock(autojump_threshold=0))


async def _answer(root: dict[str, object]) -> None:
    asker = Asker(address="127.0.0.1", admin=True)
    async with open_farm(None) as farm, open_bare_nursery() as nursery:
        requests = RootRequests(farm, nursery)
        farm.submit(parse_job(JOB))
        monitor: dict[str, object] = {"user_name": "user1", "host_name": "h"}
        await requests.answer({"monitor": monitor}, asker)
        made = await requests.answer(root, asker)
        if made is not None and not isinstance(made, BinaryAnswer):
            json.loads(encode_json(made))
        if isinstance(root.get("get"), dict):
            path = str(root["get"])
            try:
                await requests.serve_file(f"/@TMP@{path}")
            except HttpRefused:
                return


def _requests() -> tuple[bytes, ...]:
    recorded: list[dict[str, Any]] = json.loads(RECORDED.read_text(encoding="utf-8"))
    requests = [each["request"] for each in recorded if "request" in each]
    # As afcmd asks for an output and a log.
    position = {"type": "jobs", "ids": [2], "block_ids": [0], "task_ids": [0], "binary": True}
    requests += [{"get": {**position, "mode": mode}} for mode in ("output", "log")]
    return tuple(json.dumps(each).encode() for each in requests)


BODIES = _requests()
TARGETS = {
    "frames of JSON clients": Target(
        run=frame,
        corpus=(
            b"AFANASY %d JSON%b" % (len(BODIES[0]), BODIES[0]),
            bytes.fromhex("0000005100000018") + len(BODIES[1]).to_bytes(4, "big") + BODIES[1],
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b"
            % (len(BODIES[2]), BODIES[2]),
            b"POST / HTTP/1.1\nAFANASY: %d\n\n%b" % (len(BODIES[3]), BODIES[3]),
            b"GET /@TMP@/store/2/0.0/files/a.jpg HTTP/1.1\r\nOrigin: http://localhost\r\n\r\n",
        ),
        allowed=(RequestRefused,),
    ),
    "requests of JSON clients": Target(run=answer, corpus=BODIES, allowed=(BadJson,), share=0.5),
}
