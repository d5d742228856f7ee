"""A server whose answers to JSON requests a test gives, in memory; and a client of it."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
import trio.testing

from trio_afrender.afserver.client import Dialer
from trio_afrender.afserver.remote_farm import RemoteFarm
from trio_afrender.protocol.afanasy import Json, Receiver, encode
from trio_afrender.transport.address import NativeAddress

__all__ = ("DONE_TEXT", "ScriptedFarm", "make_remote_farm", "open_scripted_farm", "options")

DONE_TEXT = {"info": {"kind": "log", "text": "Action processed."}}
"""What a server answers to a change, whether it has made it or not."""


def make_remote_farm(open_stream: Callable[[str, int], Any], **more: Any) -> RemoteFarm:  # noqa: ANN401 - as attrs has it
    """A client whose connections are made by `open_stream`."""
    dialer = Dialer(NativeAddress(host="farm", port=51000), open_stream=open_stream)
    return RemoteFarm(**{"dialer": dialer, "user_name": "ann", "host_name": "ws1", **more})


def options(*names: str, command: str = "pause", **more: object) -> Namespace:
    """The options of a command."""
    return Namespace(names=list(names), command=command, yes=True, json=False, **more)


@attrs.define(eq=False)
class ScriptedFarm:
    """An afserver with some nodes. It answers lists; `change` gets each action and may edit them."""

    nodes: dict[str, list[dict[str, Any]]] = attrs.field(factory=dict)
    """Type -> nodes, as in answers."""
    progress: list[list[dict[str, Any]]] = attrs.field(factory=list)
    change: Callable[[ScriptedFarm, dict[str, Any]], object] = lambda _farm, _action: DONE_TEXT
    constant: object = None
    """The answer to everything, if there is one."""
    asked: list[dict[str, Any]] = attrs.field(factory=list)
    texts: dict[str, str] = attrs.field(factory=dict)
    """Mode -> text of any task."""

    @property
    def actions(self) -> list[dict[str, Any]]:
        return [each["action"] for each in self.asked if "action" in each]

    def find(self, kind: str, number: int) -> dict[str, Any]:
        return next(each for each in self.nodes[kind] if each["id"] == number)

    def answer(self, request: dict[str, Any]) -> object:
        self.asked.append(request)
        if self.constant is not None:
            return self.constant
        if "action" in request:
            return self.change(self, request["action"])
        get = request["get"]
        ids = get.get("ids")
        found = [each for each in self.nodes.get(get["type"], []) if not ids or each["id"] in ids]
        match get.get("mode"):
            case "progress":
                return {"job_progress": {"id": ids[0], "progress": self.progress}}
            case "resources":
                return {"renders": []}
            case "log" | "output" | "error_hosts" if get.get("task_ids"):
                return {"task": {"data": self.texts.get(get["mode"], "")}}
            case "log" | "error_hosts" | "tasks_log":
                lines = self.texts.get(get["mode"], "").splitlines()
                return {"message": {"name": "n", "type": get["mode"], "list": lines}}
        if ids and not found and get["type"] == "jobs" and len(ids) == 1:
            return {"info": {"kind": "error", "text": "Invalid ID"}}
        return {get["type"]: found}


@asynccontextmanager
async def open_scripted_farm(**script: Any) -> AsyncIterator[tuple[ScriptedFarm, RemoteFarm]]:  # noqa: ANN401 - as attrs has it
    """Open a server, and a client of it."""
    server = ScriptedFarm(**script)
    async with trio.open_nursery() as nursery:

        async def connect(_host: str, _port: int) -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(_serve, server, theirs)
            return ours

        yield server, make_remote_farm(connect)
        nursery.cancel_scope.cancel()


async def _serve(server: ScriptedFarm, stream: trio.abc.Stream) -> None:
    receiver = Receiver()
    while (message := receiver.feed(bytes(await stream.receive_some()))) is None:
        pass
    assert isinstance(message, Json)
    answer = server.answer(json.loads(message.body))
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    await stream.send_all(encode(Json(body=body)))
