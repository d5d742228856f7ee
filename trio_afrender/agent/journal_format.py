"""The journal's format and what it says: a transcript of the session's own messages. Pure.

The file begins with `MAGIC`. Each record is one message in its JSON frame, before it who said it
(``S`` the server, ``R`` the render), its length and a CRC-32 over both. Nothing else: a field that
a message gets later is journaled without a change here.

An agent killed in the middle of a write leaves a torn tail. Reading ends at the first record that
is not whole; all before it is true.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeAlias

import attrs

from trio_afrender.errors import ProtocolError
from trio_afrender.protocol.json_codec import decode_from_render, decode_from_server, encode
from trio_afrender.protocol.messages import (
    Events,
    FilesEntry,
    ListenedEntry,
    LogEntry,
    RunRef,
    TaskExec,
    TaskUpdate,
    Update,
)

__all__ = (
    "MAGIC",
    "Journal",
    "NoJournal",
    "PendingOutcome",
    "PendingState",
    "make_record",
    "read_records",
    "replay",
)

MAGIC = b"trio_afrender journal 1\n"
_HEADER = struct.Struct(">cII")
_MAX_RECORD = 64 * 1024 * 1024
"""Bytes of a record that can be meant; a longer one is a torn header."""

PendingOutcome: TypeAlias = LogEntry | ListenedEntry | FilesEntry
Message: TypeAlias = Events | Update


class Journal(Protocol):
    """What the outbox writes to. Positions count the bytes ever written."""

    @property
    def durable(self) -> int:
        """Up to where what was written outlives a loss of power (or cannot be made to)."""
        ...

    def write(self, record: bytes, *, sync: bool = False) -> int:
        """Take a record and return the position behind it; `sync` ones are made durable soon."""
        ...


class NoJournal:
    """For who keeps nothing: all counts as durable."""

    durable = 0

    def write(self, record: bytes, *, sync: bool = False) -> int:
        return 0


def make_record(message: Message) -> bytes:
    """Return the bytes of one record."""
    who = b"S" if isinstance(message, Events) else b"R"
    body = encode(message).encode()
    return _HEADER.pack(who, len(body), zlib.crc32(who + body)) + body


def read_records(data: bytes, start: int = len(MAGIC)) -> tuple[tuple[Message, ...], int]:
    """Return the messages in `data` from `start` on, and the length of what is whole."""
    found: list[Message] = []
    while start + _HEADER.size <= len(data):
        who, length, checksum = _HEADER.unpack_from(data, start)
        body = data[start + _HEADER.size : start + _HEADER.size + length]
        if length > _MAX_RECORD or len(body) < length or zlib.crc32(who + body) != checksum:
            break
        try:
            message = decode_from_server(body) if who == b"S" else decode_from_render(body)
        except ProtocolError:
            message = None  # whole, but of a version that says it differently: of no use to us
        if isinstance(message, Events | Update):
            found.append(message)
        start += _HEADER.size + length
    return tuple(found), min(start, len(data))


@attrs.define
class PendingState:
    """What the server still has to hear, and what was running."""

    tasks: dict[str, TaskExec] = attrs.field(factory=dict)
    """Accepted runs by their id; those without an outcome were running."""
    outcomes: dict[str, TaskUpdate] = attrs.field(factory=dict)
    entries: list[PendingOutcome] = attrs.field(factory=list)

    @property
    def unfinished(self) -> tuple[TaskExec, ...]:
        """Runs that have no outcome yet."""
        return tuple(task for run, task in self.tasks.items() if run not in self.outcomes)

    def apply(self, message: Message) -> None:
        """Take over one message of the transcript."""
        if isinstance(message, Events):
            self.tasks.update((task.run, task) for task in message.tasks)
            for ref in message.closes:
                self._close(ref)
        else:
            self.entries += (*message.log, *message.files)
            self.outcomes.update((update.run, update) for update in message.tasks)

    def _close(self, ref: RunRef) -> None:
        self.tasks.pop(ref.run, None)
        self.outcomes.pop(ref.run, None)
        self.entries = [entry for entry in self.entries if entry.run != ref.run]

    def records(self) -> Iterator[bytes]:
        """The shortest transcript that says the same."""
        for task in self.tasks.values():
            yield make_record(Events(tasks=(task,)))
        for entry in self.entries:
            yield make_record(describe_entry(entry))
        for update in self.outcomes.values():
            yield make_record(Update(seq=0, tasks=(update,)))


def describe_entry(entry: PendingOutcome) -> Update:
    """The message that says one entry."""
    match entry:
        case LogEntry():
            return Update(seq=0, log=(entry,))
        case FilesEntry():
            return Update(seq=0, files=(entry,))
        case ListenedEntry():
            return Update(seq=0, listened=(entry,))


def replay(messages: Iterable[Message]) -> PendingState:
    """Return what holds at the end of a transcript."""
    held = PendingState()
    for message in messages:
        held.apply(message)
    return held
