"""A fake afserver for submitters: it accepts jobs and reports the progress that a test sets."""

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
class FakeJobServer:
    """The received jobs, and the answers. Each request for progress takes the next of `steps`, and
    repeats the last one. A job that is `deleted` does not exist any more after `steps`."""

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

    def answer_to(self, request: dict[str, Any]) -> object:
        """Return the answer to a request."""
        if "job" in request:
            self.jobs.append(request["job"])
            return self.answer
        get = request["get"]
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
async def open_fake_job_server(**keywords: object) -> AsyncIterator[FakeJobServer]:
    """Open a server on loopback."""
    server = FakeJobServer(**keywords)  # type: ignore[arg-type] # the attributes of the class
    async with trio.open_nursery() as nursery:
        listeners: list[trio.SocketListener] = await nursery.start(_serve, server.answer_to)
        server.url = f"af://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        yield server
        nursery.cancel_scope.cancel()


async def _serve(
    answer_to: Callable[[dict[str, Any]], object],
    task_status: trio.TaskStatus[list[trio.SocketListener]],
) -> None:
    async def handle(stream: trio.SocketStream) -> None:
        receiver = Receiver()
        while (message := receiver.feed(await stream.receive_some())) is None:
            pass
        assert isinstance(message, Json)
        request = json.loads(message.body.decode("utf-8", "surrogateescape"))
        answer = answer_to(request)
        body = (
            answer if isinstance(answer, bytes) else encode(Json(body=json.dumps(answer).encode()))
        )
        await stream.send_all(body)
        with suppress(trio.BrokenResourceError):  # The client closes first, with a reset.
            if body:
                await stream.receive_some()

    await trio.serve_tcp(handle, 0, host="127.0.0.1", task_status=task_status)
