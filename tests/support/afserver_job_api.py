"""An afserver as a submitter sees it: takes a job, and tells of its progress what a test says."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import attrs
import trio

from trio_afrender.protocol.afanasy import Json, Receiver, encode

READY, RUNNING, DEPENDS, DONE, ERROR, SKIPPED = (1 << bit for bit in (0, 1, 2, 4, 5, 8))

Step = Sequence[Sequence[dict[str, Any]]]


@attrs.define(eq=False)
class Submittee:
    """What the server has been told, and what it tells. `steps` are taken one a question, the last
    one again and again; after `steps` a job that is `deleted` is gone."""

    steps: list[Step] = attrs.field(factory=list)
    answer: dict[str, Any] | bytes = attrs.field(factory=lambda: {"id": 7, "serial": 11})
    job: dict[str, Any] = attrs.field(factory=dict)
    outputs: dict[tuple[int, int, int], str] = attrs.field(factory=dict)
    renders: list[dict[str, Any]] = attrs.field(factory=list)
    deleted: bool = False
    jobs: list[dict[str, Any]] = attrs.field(factory=list)
    url: str = ""
    asked: int = 0

    @property
    def gone(self) -> bool:
        return self.deleted and self.asked >= len(self.steps)

    def say(self, question: dict[str, Any]) -> object:
        """The answer to a question."""
        if "job" in question:
            self.jobs.append(question["job"])
            return self.answer
        get = question["get"]
        if get["type"] == "renders":
            return {"renders": self.renders}
        assert get["ids"] == [7]
        if self.gone:
            return {"info": {"kind": "error", "text": "Invalid ID"}}
        match get.get("mode"):
            case None:
                return {"jobs": [{"id": 7, "serial": 11, **self.job}]}
            case "progress":
                step = self.steps[min(self.asked, len(self.steps) - 1)]
                self.asked += 1
                return {"job_progress": {"id": 7, "progress": step}}
            case mode:
                where = (get["block_ids"][0], get["task_ids"][0], get.get("number", 0))
                text = self.outputs.get(where, "") if mode == "output" else f"{mode} of {where}"
                return {"task": {"data": text}}


@asynccontextmanager
async def open_submittee(**keywords: object) -> AsyncIterator[Submittee]:
    """A server on loopback."""
    server = Submittee(**keywords)  # type: ignore[arg-type] # keywords are the class's own
    async with trio.open_nursery() as nursery:
        listeners: list[trio.SocketListener] = await nursery.start(_serve, server.say)
        server.url = f"af://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        yield server
        nursery.cancel_scope.cancel()


async def _serve(
    say: Callable[[dict[str, Any]], object],
    task_status: trio.TaskStatus[list[trio.SocketListener]],
) -> None:
    async def handle(stream: trio.SocketStream) -> None:
        receiver = Receiver()
        while (message := receiver.feed(await stream.receive_some())) is None:
            pass
        assert isinstance(message, Json)
        question = json.loads(message.body.decode("utf-8", "surrogateescape"))
        answer = say(question)
        body = (
            answer if isinstance(answer, bytes) else encode(Json(body=json.dumps(answer).encode()))
        )
        await stream.send_all(body)
        with suppress(trio.BrokenResourceError):  # the client closes first, with a reset
            if body:
                await stream.receive_some()

    await trio.serve_tcp(handle, 0, host="127.0.0.1", task_status=task_status)
