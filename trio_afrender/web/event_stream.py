"""One viewer's stream of server-sent events, as an answer of ASGI.

Nothing is queued for a viewer: it has a position in each of its topics, and what it gets is made when
it can take more. A viewer that does not read gets the state as it is when it reads again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import trio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from trio_afrender.async_helpers import RepeatedEvent
from trio_afrender.web.topic import Topic, encode_event, encode_json_text
from trio_afrender.web.turns import Turns

__all__ = ("EventStream",)

_PAUSE = 0.2
"""Seconds between two pieces: changes of several topics at one moment travel together."""
_PIECE = 64 * 1024
"""Bytes that are sent at once."""
_BEAT = 15.0
"""Seconds without a change after which the time is sent: both ends notice a dead connection by it."""
_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)
_RETRY = b"retry: 2000\n\n"
"""Milliseconds after which a browser connects again."""


class EventStream(Response):
    """Sends the changes of some topics until the viewer is gone, and holds what serves it so long."""

    def __init__(
        self,
        topics: Sequence[Topic],
        changed: RepeatedEvent,
        clock: Callable[[], float],
        turns: Turns,
        held: ExitStack,
    ) -> None:
        super().__init__()
        self._topics = topics
        self._changed = changed
        self._clock = clock
        self._turns = turns
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            await send({"type": "http.response.start", "status": 200, "headers": [*_HEADERS]})
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_changes, send)
                while (await receive())["type"] != "http.disconnect":
                    pass
                nursery.cancel_scope.cancel()

    async def _send_changes(self, send: Send) -> None:
        positions: list[int | None] = [None] * len(self._topics)
        head = _RETRY
        while True:
            await self._turns.wait()
            parts = [head]
            head = b""
            for number, topic in enumerate(self._topics):
                data, positions[number] = topic.since(positions[number])
                parts.append(data)
            if not any(parts):
                with trio.move_on_after(_BEAT):
                    await self._changed.wait()
                    continue
                now = encode_json_text({"time": round(self._clock(), 1)})
                parts = [encode_event("time", now)]
            data = b"".join(parts)
            for start in range(0, len(data), _PIECE):
                await self._turns.wait()
                body = data[start : start + _PIECE]
                await send({"type": "http.response.body", "body": body, "more_body": True})
            await trio.sleep(_PAUSE)
