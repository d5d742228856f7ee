"""Topics: what viewers watch. A snapshot, then changes, each encoded once for all viewers. No I/O.

A topic keeps its last changes, and each viewer a number: how far it is. So a viewer that reads slowly
costs nothing, and one that is too far behind gets a snapshot in place of what it has missed.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import attrs

__all__ = ("Row", "TableTopic", "Topic", "encode_event", "encode_json_text")

Row: TypeAlias = dict[str, Any]
"""A row of a table, as JSON; `id` tells it from the others."""

_MAX_CHANGES = 256
_MAX_BYTES = 512 * 1024
"""Of the changes that a topic keeps."""

encode_json_text: Callable[[object], str] = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), allow_nan=False
).encode
"""The JSON of a value, without blanks and without line feeds: strings have those as escapes."""


def encode_event(name: str, data: str) -> bytes:
    """A server-sent event. `data` is JSON, so it has no line feed."""
    return f"event: {name}\ndata: {data}\n\n".encode("utf-8", "replace")


@attrs.define(slots=True, eq=False)
class Topic:
    """One topic. `wake` is called after each change; `describe` makes the JSON of a snapshot."""

    name: str
    wake: Callable[[], None]
    describe: Callable[[], str] | None = None
    """None: there is nothing to be shown yet."""
    event: str = "snapshot"
    """The name of the event that shows everything."""
    kept: bool = True
    """Whether a snapshot serves later viewers too."""
    ended: bytes = b""
    """The last event of what is gone."""
    position: int = 0
    """The number of changes so far."""
    _changes: deque[bytes] = attrs.field(factory=deque)
    size: int = 0
    """Bytes of the changes that are kept."""
    _snapshot: tuple[int, bytes] | None = None
    """The position at which it was made, and the event."""

    def publish(self, change: Mapping[str, object]) -> None:
        """Add a change; the name of the topic is added."""
        self.publish_text(encode_json_text({"topic": self.name, **change}))

    def publish_text(self, text: str) -> None:
        """Add a change whose JSON has been made."""
        event = encode_event("change", text)
        self._changes.append(event)
        self.size += len(event)
        self.position += 1
        while self._changes and (len(self._changes) > _MAX_CHANGES or self.size > _MAX_BYTES):
            self.size -= len(self._changes.popleft())
        self.wake()

    def replace(self) -> None:
        """Have all viewers get a snapshot: what was there before counts no more."""
        self._changes.clear()
        self.size = 0
        # One more than the changes before: every viewer is too far behind.
        self.position += 1
        self._snapshot = None
        self.wake()

    def end(self, reason: str) -> None:
        """Say that there is nothing more to be watched."""
        text = encode_json_text({"topic": self.name, "error": reason})
        self.ended = encode_event("gone", text)
        self.replace()

    def since(self, position: int | None) -> tuple[bytes, int]:
        """What a viewer needs that has seen everything up to `position`; and the new position.

        None is a viewer that has seen nothing.
        """
        if position == self.position:
            return b"", self.position
        if self.ended:
            return self.ended, self.position
        if self.describe is None:
            return b"", -1
        first = self.position - len(self._changes)
        if position is not None and first <= position:
            return b"".join(list(self._changes)[position - first :]), self.position
        if self._snapshot is None or self._snapshot[0] < first or not self.kept:
            self._snapshot = (self.position, encode_event(self.event, self.describe()))
        made, event = self._snapshot
        return event + b"".join(list(self._changes)[made - first :]), self.position


class TableTopic(Topic):
    """A topic of rows. Only fields that change are published, and each row is encoded once."""

    __slots__ = ("_rows", "_texts")

    def __init__(self, name: str, wake: Callable[[], None]) -> None:
        super().__init__(name, wake)
        self._rows: dict[object, Row] = {}
        self._texts: dict[object, str] = {}

    @property
    def rows(self) -> Mapping[object, Row]:
        return self._rows

    def update(self, rows: Iterable[Row], gone: Iterable[object] = ()) -> None:
        """Take the present state of some rows, and the ids of rows that are gone."""
        changes = []
        for row in rows:
            old = self._rows.get(row["id"], {})
            changed = {key: value for key, value in row.items() if old.get(key, _NEW) != value}
            if changed:
                text = encode_json_text(row)
                changes.append(encode_json_text({"id": row["id"], **changed}) if old else text)
                self._rows[row["id"]] = row
                self._texts[row["id"]] = text
        left = [each for each in gone if self._rows.pop(each, None) is not None]
        for each in left:
            del self._texts[each]
        if self.describe is None:
            return
        if changes or left:
            name = encode_json_text(self.name)
            removed = f',"gone":{encode_json_text(left)}' if left else ""
            self.publish_text(f'{{"topic":{name},"rows":[{",".join(changes)}]{removed}}}')

    def keep_only(self, ids: Iterable[object]) -> None:
        """Remove all other rows."""
        wanted = set(ids)
        self.update((), [each for each in self._rows if each not in wanted])

    def show(self) -> None:
        """Let viewers see the rows from now on."""
        if self.describe is None:
            self.describe: Callable[[], str] | None = self._describe
            self.replace()

    def _describe(self) -> str:
        return (
            f'{{"topic":{encode_json_text(self.name)},"rows":[{",".join(self._texts.values())}]}}'
        )


_NEW = object()
