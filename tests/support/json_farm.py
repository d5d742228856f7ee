"""A farm in memory with its JSON interface, for clients over memory streams in virtual time."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio
import trio.testing

from support.farm import FakeLink
from trio_afrender.async_helpers import open_bare_nursery
from trio_afrender.config.settings import Token
from trio_afrender.farm import Farm, FarmSettings, open_farm
from trio_afrender.farm.json_interface.json_server import JsonServer
from trio_afrender.farm.json_interface.root_requests import RootRequests

__all__ = ("TOKEN", "JsonFarm", "open_json_farm")

TOKEN = Token("the-token")
_BEGIN = 1_795_987_600.0
"""Unix time at which the virtual clock is 0."""


@attrs.define(eq=False)
class JsonFarm:
    """The farm, and a client of its JSON interface."""

    farm: Farm
    server: JsonServer
    nursery: trio.Nursery
    own: bool = True
    """Whether the client runs as the user of the farm."""

    async def is_own(self, peer: object, local: object) -> bool:
        await trio.lowlevel.checkpoint()
        return self.own

    def connect(self, *, lockstep: bool = False) -> trio.StapledStream[Any, Any]:
        """Open a connection. With `lockstep`, each side waits until the other has read."""
        make = trio.testing.lockstep_stream_pair if lockstep else trio.testing.memory_stream_pair
        ours, theirs = make()
        ends = ("127.0.0.1", 40_000), ("127.0.0.1", 51_000)
        self.nursery.start_soon(self.server.serve_stream, theirs, *ends)
        return ours

    async def exchange(self, data: bytes) -> bytes:
        """Send bytes and return what comes back until the end."""
        async with self.connect() as stream:
            await stream.send_all(data)
            answer = bytearray()
            while part := await stream.receive_some():
                answer += part
            return bytes(answer)

    async def send(self, request: object) -> str:
        """Send a request in the text frame; return the text of the answer, '' if there is none."""
        body = request if isinstance(request, bytes) else json.dumps(request).encode()
        answer = await self.exchange(b"AFANASY %d JSON%b" % (len(body), body))
        if not answer:
            return ""
        head, _, text = answer.decode().partition("JSON")
        assert head == f"AFANASY {len(text.encode())} "
        return text

    async def ask(self, request: object) -> Any:  # noqa: ANN401 - JSON
        """Send a request and return its answer."""
        return json.loads(await self.send(request))

    async def get(self, kind: str, **asked: object) -> Any:  # noqa: ANN401 - as above
        return await self.ask({"get": {"type": kind, **asked}})

    async def act(self, kind: str, ids: object, **asked: object) -> Any:  # noqa: ANN401 - as above
        """Ask for a change; a string of ids is a mask."""
        selected = {"mask": ids} if isinstance(ids, str) else {"ids": ids}
        names = {"user_name": "user1", "host_name": "ws1", "type": kind}
        return await self.ask({"action": {**names, **selected, **asked}})

    async def watch(self, kind: str, **asked: object) -> None:
        """Have monitor 1 watch something."""
        operation = {"type": "watch", "status": "subscribe", "class": kind, **asked}
        answer = await self.act("monitors", [1], operation=operation)
        assert answer["info"]["kind"] == "log", answer

    async def events(self, monitor: int = 1) -> Any:  # noqa: ANN401 - as above
        """Poll a monitor."""
        answer = await self.get("monitors", ids=[monitor], mode="events")
        return answer["events"]

    def add_render(self, name: str = "host1", peer: str = "127.0.0.1:40001") -> FakeLink:
        """Connect a render, which the caller has to register."""
        link = FakeLink(peer)
        self.nursery.start_soon(self.farm.serve_link, link)
        return link


@asynccontextmanager
async def open_json_farm(
    *, gui_folder: Path | None = None, settings: FarmSettings | None = None
) -> AsyncIterator[JsonFarm]:
    """Open a farm in memory with its JSON interface."""

    def wall() -> float:
        return _BEGIN + trio.current_time()

    async with open_bare_nursery() as nursery:
        async with open_farm(None, settings=settings or FarmSettings(), wall=wall) as farm:
            requests = RootRequests(farm, nursery, gui_folder)
            nursery.start_soon(requests.registry.run_clock)
            server = JsonServer(requests, TOKEN, _never_called)
            made = JsonFarm(farm, server, nursery)
            server.is_own = made.is_own
            yield made


async def _never_called(peer: object, local: object) -> bool:
    raise AssertionError(peer, local)
