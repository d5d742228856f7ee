"""Messages of both protocols, and the journal, whose records are messages."""

from __future__ import annotations

import json
import random
import struct
import zlib
from pathlib import Path

from fuzz.targets import Target
from trio_afrender.agent.journal_format import MAGIC, make_record, read_records, replay
from trio_afrender.errors import ProtocolError
from trio_afrender.protocol import afanasy
from trio_afrender.protocol.json_codec import decode_from_render, decode_from_server, encode
from trio_afrender.protocol.messages import (
    Ack,
    AskedOutput,
    Deregister,
    Events,
    FilesEntry,
    FromRender,
    FromServer,
    HostResources,
    ListenedEntry,
    LogEntry,
    Reason,
    Refused,
    Register,
    Registered,
    RunRef,
    TaskExec,
    TaskFile,
    TaskStatus,
    TaskUpdate,
    Unknown,
    Update,
)

__all__ = ("TARGETS",)

DATA = Path(__file__).parents[1] / "data"
TASK = TaskExec(
    run="r1", job=2, block=0, task=3, command_block="render @#@", files_block=("a.@##@.exr",),
    environment={"A": "b"}, frame_start=1, frame_finish=5,
)  # fmt: skip
REF = RunRef(run="r1", job=2, block=0, task=3, reason="why not")
END = TaskUpdate(
    run="r1", job=2, block=0, task=3, status=TaskStatus.FinishedError, percent=40, output="text\n",
    exit_code=1, parsed_files=("a.exr",), why=(Reason(time=1.5, event="exit", text="end", pids=(4,)),),
)  # fmt: skip
RENDER_MESSAGES: tuple[FromRender, ...] = (
    Register(name="n1", running=(TASK,), undelivered=(TASK,), resources=HostResources()),
    Update(
        seq=3, tasks=(END,), outputs=(AskedOutput(run="r1", job=2, block=0, task=3, output="o"),),
        log=(LogEntry(run="r1", n=1, text="line\n"),), resources=HostResources(), state=5,
        listened=(ListenedEntry(run="r1", n=2, text="line"),),
        files=(FilesEntry(run="r1", n=3, files=(TaskFile(name="a.jpg", data=b"\xff\0x"),)),),
    ),
    Deregister(reason="bye"),
)  # fmt: skip
SERVER_MESSAGES: tuple[FromServer, ...] = (
    Registered(id=7, heartbeat_sec=1.0, zombie_time=16.0, resume=("r1",), stop=("r2",), log="hi"),
    Refused(reason="name-taken", text="no", retry_after=4.0),
    Events(
        tasks=(TASK,), closes=(REF,), stops=(REF,), outputs=(REF,), listens_add=(REF,),
        listens_rem=(REF,), instruction="launch", command="ls", zombie_time=20.0, log="words",
    ),
    Ack(seq=9),
)  # fmt: skip
RECORDS: tuple[Events | Update, ...] = (
    Events(tasks=(TASK,)),
    Update(seq=0, log=(LogEntry(run="r1", n=1, text="line\n"),)),
    Update(seq=0, tasks=(END,)),
    Events(closes=(REF,)),
)


def from_render(data: bytes) -> None:
    message = decode_from_render(data)
    if not isinstance(message, Unknown):
        assert decode_from_render(encode(message)) == message


def from_server(data: bytes) -> None:
    message = decode_from_server(data)
    if not isinstance(message, Unknown):
        assert decode_from_server(encode(message)) == message


def journal(data: bytes) -> None:
    state = replay(read_records(data))
    compact = MAGIC + b"".join(state.records())
    assert replay(read_records(compact)) == state


def journal_records(data: bytes) -> None:
    """Complete records with unknown contents, as another version may write them."""
    for sender in (b"S", b"R"):
        checksum = zlib.crc32(sender + data)
        record = struct.pack(">cII", sender, len(data), checksum) + data
        journal(MAGIC + record + make_record(RECORDS[0]))


def native(data: bytes) -> None:
    """A message as a whole and in pieces: the results must be equal."""
    message, problem = _decode(data)
    receiver = afanasy.Receiver()
    rng = random.Random(len(data))  # noqa: S311 - must be repeatable
    at, found = 0, None
    try:
        while at < len(data) and found is None:
            size = rng.randint(1, 64)
            found, at = receiver.feed(data[at : at + size]), at + size
    except ProtocolError:
        assert problem is not None
    if problem is not None:
        raise problem
    assert message is not None
    if not isinstance(message, afanasy.Json):
        again, _ = _decode(afanasy.encode(message))
        assert again == message


def _decode(data: bytes) -> tuple[afanasy.Message | None, ProtocolError | None]:
    try:
        return afanasy.decode(data), None
    except ProtocolError as error:
        return None, error


def _vectors() -> tuple[bytes, ...]:
    vectors = json.loads((DATA / "afanasy_vectors.json").read_text())
    return tuple(bytes.fromhex(each["hex"]) for each in vectors if "hex" in each)


TARGETS = {
    "frames from a render": Target(
        run=from_render,
        corpus=tuple(encode(each).encode() for each in RENDER_MESSAGES),
        allowed=(ProtocolError,),
    ),
    "frames from a server": Target(
        run=from_server,
        corpus=tuple(encode(each).encode() for each in SERVER_MESSAGES),
        allowed=(ProtocolError,),
    ),
    "a journal": Target(
        run=journal, corpus=(MAGIC + b"".join(make_record(each) for each in RECORDS),), share=0.5
    ),
    "records of a journal": Target(
        run=journal_records, corpus=tuple(encode(each).encode() for each in RECORDS), share=0.5
    ),
    "native messages": Target(run=native, corpus=_vectors(), allowed=(ProtocolError,)),
}
