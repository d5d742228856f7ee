"""The journal's format and the state that a journal describes. No I/O.

The journal is a transcript of the session's own messages: accepted tasks and closes from the
server, log entries, files and outcomes from the render. Replaying it gives what was running and
what is not delivered yet.

The file begins with `MAGIC`. A record is a message in its JSON form behind a header: one byte for
the sender (``S`` server, ``R`` render), the length, and a CRC-32 of sender and message. A message
field that is added later is journaled without a change here.

An agent that is killed during a write leaves a torn record at the end. Reading stops at the first
record that is not whole; all records before it are valid.
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
"""Bytes of the longest record. A larger length comes from a torn header."""

PendingOutcome: TypeAlias = LogEntry | ListenedEntry | FilesEntry
Message: TypeAlias = Events | Update


class Journal(Protocol):
    """The outbox's view of the journal. Positions count all bytes written since it was opened."""

    @property
    def durable(self) -> int:
        """The position up to which records survive a power loss, or cannot be made to."""
        ...

    def write(self, record: bytes, *, sync: bool = False) -> int:
        """Queue a record and return the position after it. `sync`: make it durable soon."""
        ...


class NoJournal:
    """A journal that stores nothing; every record counts as durable."""

    durable = 0

    def write(self, record: bytes, *, sync: bool = False) -> int:
        return 0


def make_record(message: Message) -> bytes:
    """Return the bytes of one record."""
    sender = b"S" if isinstance(message, Events) else b"R"
    body = encode(message).encode()
    return _HEADER.pack(sender, len(body), zlib.crc32(sender + body)) + body


def read_records(data: bytes, start: int = len(MAGIC)) -> tuple[Message, ...]:
    """Return the messages in `data` from `start` on, up to the first record that is not whole."""
    found: list[Message] = []
    while start + _HEADER.size <= len(data):
        sender, length, checksum = _HEADER.unpack_from(data, start)
        body = data[start + _HEADER.size : start + _HEADER.size + length]
        if length > _MAX_RECORD or len(body) < length or zlib.crc32(sender + body) != checksum:
            break
        try:
            message = decode_from_server(body) if sender == b"S" else decode_from_render(body)
        except ProtocolError:
            message = None  # A whole record in another version's form. Skipped.
        if isinstance(message, Events | Update):
            found.append(message)
        start += _HEADER.size + length
    return tuple(found)


@attrs.define
class PendingState:
    """The state at the end of a journal: accepted runs, and what is not delivered yet."""

    tasks: dict[str, TaskExec] = attrs.field(factory=dict)
    """Accepted runs by run id. A run without an outcome was running."""
    outcomes: dict[str, TaskUpdate] = attrs.field(factory=dict)
    entries: list[PendingOutcome] = attrs.field(factory=list)

    @property
    def unfinished(self) -> tuple[TaskExec, ...]:
        """Runs without an outcome."""
        return tuple(task for run, task in self.tasks.items() if run not in self.outcomes)

    def apply(self, message: Message) -> None:
        """Apply one message of the transcript."""
        if isinstance(message, Events):
            self.tasks.update((task.run, task) for task in message.tasks)
            for ref in message.closes:
                self.tasks.pop(ref.run, None)
                self.outcomes.pop(ref.run, None)
                self.entries = [entry for entry in self.entries if entry.run != ref.run]
        else:
            self.entries += (*message.log, *message.files)
            self.outcomes.update((update.run, update) for update in message.tasks)

    def records(self) -> Iterator[bytes]:
        """Yield the records of the shortest journal with this state."""
        # An outcome comes after the entries of its run, which is the order of delivery.
        for task in self.tasks.values():
            yield make_record(Events(tasks=(task,)))
        for entry in self.entries:
            yield make_record(describe_entry(entry))
        for update in self.outcomes.values():
            yield make_record(Update(seq=0, tasks=(update,)))


def describe_entry(entry: PendingOutcome) -> Update:
    """Return the message that carries one entry."""
    match entry:
        case LogEntry():
            return Update(seq=0, log=(entry,))
        case FilesEntry():
            return Update(seq=0, files=(entry,))
        case ListenedEntry():
            return Update(seq=0, listened=(entry,))


def replay(messages: Iterable[Message]) -> PendingState:
    """Return the state at the end of a transcript."""
    state = PendingState()
    for message in messages:
        state.apply(message)
    return state
