"""A page without sockets: its application called as a web server calls it, and streams of events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import attrs
import trio
from starlette.types import ASGIApp

from support.farm import FakeLink
from support.json_farm import JsonFarm, open_json_farm
from trio_afrender.afserver.remote_farm import RemoteFarm
from trio_afrender.async_helpers import open_bare_nursery
from trio_afrender.farm.json_interface import make_in_process_farm
from trio_afrender.web.page_app import Page, make_app
from trio_afrender.web.serve_page import make_page
from trio_afrender.web.settings import PageSettings

__all__ = ("HOST", "SAME_ORIGIN", "Answer", "Viewer", "WebPage", "open_own_page", "open_page")

HOST = "127.0.0.1:8080"
SAME_ORIGIN = {
    "Origin": f"http://{HOST}",
    "Sec-Fetch-Site": "same-origin",
    "X-Trio-Afrender": "1",
    "Content-Type": "application/json",
}
"""What the page's own script and its browser send with a change."""


@attrs.frozen
class Answer:
    """An answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return str(self.json["error"])


@attrs.define(eq=False)
class Viewer:
    """A stream of events, as a browser reads it: the rows of tables are merged."""

    status: int = 0
    text: str = ""
    bytes: int = 0
    events: list[tuple[str, dict[str, Any]]] = attrs.field(factory=list)
    counting: bool = False
    """Whether bytes are only counted, not read."""
    asleep: trio.Event | None = None
    """While it is not set, nothing is taken."""
    _arrived: trio.Event = attrs.field(factory=trio.Event)

    async def send(self, message: Mapping[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        if self.asleep is not None:
            await self.asleep.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            return
        self.bytes += len(message["body"])
        if self.counting:
            return
        self.text += message["body"].decode()
        *whole, self.text = self.text.split("\n\n")
        for each in whole:
            fields = dict(line.split(": ", 1) for line in each.split("\n") if ": " in line)
            if "data" in fields:
                self.events.append((fields["event"], json.loads(fields["data"])))
        self._arrived.set()
        self._arrived = trio.Event()

    async def count(self, seconds: float) -> None:
        """Only count bytes for a while."""
        self.counting = True
        await trio.sleep(seconds)

    async def expect(self, name: str, topic: str = "", **fields: object) -> Any:  # noqa: ANN401 - JSON
        """Wait for an event with such a name, topic and fields; drop it and those before it."""
        with trio.fail_after(60):
            while True:
                for number, (kind, data) in enumerate(self.events):
                    if (
                        kind == name
                        and data.get("topic", "") == topic
                        and all(data.get(key) == value for key, value in fields.items())
                    ):
                        del self.events[: number + 1]
                        return data
                await self._arrived.wait()

    async def expect_row(self, topic: str, number: object, **fields: object) -> Any:  # noqa: ANN401 - JSON
        """Wait until a row of a table has such fields; its rows are merged as a page does it."""
        rows: dict[object, dict[str, Any]] = {}
        with trio.fail_after(60):
            while True:
                for kind, data in self.events:
                    if data.get("topic") != topic:
                        continue
                    if kind == "snapshot":
                        rows = {}
                    for row in data.get("rows", ()):
                        rows.setdefault(row["id"], {}).update(row)
                    for each in data.get("gone", ()):
                        rows.pop(each, None)
                row = rows.get(number)
                if row is not None and all(row.get(k) == v for k, v in fields.items()):
                    return row
                await self._arrived.wait()


@attrs.define(eq=False)
class WebPage:
    """A page, and the means to ask it. `own`: whether connections are those of its user."""

    page: Page
    app: ASGIApp
    nursery: trio.Nursery
    own: bool = True
    json_farm: JsonFarm | None = None
    links: dict[str, FakeLink] = attrs.field(factory=dict)

    async def is_own(self, peer: object, local: object) -> bool:
        await trio.lowlevel.checkpoint()
        return self.own

    def _scope(
        self, method: str, target: str, headers: Mapping[str, str], peer: str
    ) -> dict[str, Any]:
        parts = urlsplit(target)
        given = {"Host": HOST, **headers}
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.1"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(parts.path),
            "raw_path": parts.path.encode(),
            "root_path": "",
            "query_string": parts.query.encode(),
            "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in given.items()],
            "client": (peer, 40_000),
            "server": ("127.0.0.1", 8080),
            "state": {},
        }

    async def ask(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] = {},
        peer: str = "127.0.0.1",
    ) -> Answer:
        """Send a request and return the answer."""
        started: dict[str, Any] = {}
        found = bytearray()
        sent = False

        async def receive() -> dict[str, Any]:
            nonlocal sent
            await trio.lowlevel.checkpoint()
            if sent:
                await trio.sleep_forever()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:  # noqa: ANN401 - as ASGI has it
            await trio.lowlevel.checkpoint()
            if message["type"] == "http.response.start":
                started.update(message)
            else:
                found.extend(message.get("body", b""))

        await self.app(self._scope(method, target, headers, peer), receive, send)
        decoded = {key.decode(): value.decode("latin-1") for key, value in started["headers"]}
        return Answer(started["status"], decoded, bytes(found))

    async def get(self, target: str, **more: Any) -> Answer:  # noqa: ANN401 - those of `ask`
        return await self.ask("GET", target, **more)

    async def post(self, target: str, body: object, **more: Any) -> Answer:  # noqa: ANN401 - as above
        """Ask for a change, as the page's own script does it."""
        headers = {**SAME_ORIGIN, **more.pop("headers", {})}
        return await self.ask("POST", target, json.dumps(body).encode(), headers=headers, **more)

    async def change(self, kind: str, verb: str, *nodes: object, **values: str) -> Answer:
        return await self.post("/api/act", change_body(kind, verb, *nodes, **values))

    @asynccontextmanager
    async def view(
        self,
        topics: str,
        *,
        asleep: trio.Event | None = None,
        headers: Mapping[str, str] = {},
        peer: str = "127.0.0.1",
    ) -> AsyncIterator[Viewer]:
        """Watch topics, with commas between."""
        viewer = Viewer(asleep=asleep)
        left = trio.Event()
        requested = False

        async def receive() -> dict[str, Any]:
            nonlocal requested
            if not requested:
                requested = True
                await trio.lowlevel.checkpoint()
                return {"type": "http.request", "body": b"", "more_body": False}
            await left.wait()
            return {"type": "http.disconnect"}

        scope = self._scope("GET", f"/api/events?topics={topics}", headers, peer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.app, scope, receive, viewer.send)
            try:
                yield viewer
            finally:
                left.set()
                nursery.cancel_scope.cancel()


def change_body(kind: str, verb: str, *nodes: object, **values: str) -> dict[str, object]:
    """The body of a change. Nodes are ids, or pairs of an id and a serial or a name."""
    key = "serial" if kind in ("job", "block", "task") else "name"
    listed = [
        {"id": each[0], key: each[1]} if isinstance(each, tuple) else {"id": each} for each in nodes
    ]
    made: dict[str, object] = {"kind": kind, "verb": verb, "nodes": listed}
    return {**made, "values": values} if values else made


@asynccontextmanager
async def open_page(
    farm: RemoteFarm, settings: PageSettings | None = None, *, ready: bool = True
) -> AsyncIterator[WebPage]:
    """Open the page of a farm, and wait until it has read the farm."""
    async with open_bare_nursery() as nursery:
        made: list[WebPage] = []

        async def is_own(peer: object, local: object) -> bool:
            return await made[0].is_own(peer, local)

        page = make_page(
            nursery,
            farm,
            settings or PageSettings(),
            port=8080,
            is_own=is_own,
            names=frozenset({"farm.example", "localhost"}),
        )
        made.append(WebPage(page, make_app(page), nursery))
        nursery.start_soon(page.watch.run)
        with trio.fail_after(60):
            while ready and page.watch.monitor is None:
                await page.watch.round.wait()
        yield made[0]


@asynccontextmanager
async def open_own_page(
    *jobs: Mapping[str, object],
    renders: Iterator[str] | tuple[str, ...] = (),
    settings: PageSettings | None = None,
) -> AsyncIterator[WebPage]:
    """Open the page of a farm of this process, with jobs and connected renders."""
    async with open_json_farm() as json_farm:
        farm = make_in_process_farm(
            json_farm.farm,
            json_farm.server.requests,
            place="af://own",
            user_name="ann",
            host_name="ws1",
        )
        for job in jobs:
            await farm.ask({"job": {"name": "j", "user_name": "ann", **job}})
        links = {}
        for name in renders:
            links[name] = json_farm.add_render(name)
            await links[name].register(name)
        async with open_page(farm, settings) as page:
            page.json_farm = json_farm
            page.links = links
            yield page
        json_farm.nursery.cancel_scope.cancel()
