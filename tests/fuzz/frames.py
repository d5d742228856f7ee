"""Messages of both protocols, and the journal that is made of them."""

from __future__ import annotations

import json
import random
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
RENDER_SAYS: tuple[FromRender, ...] = (
    Register(name="n1", running=(TASK,), undelivered=(TASK,), resources=HostResources()),
    Update(
        seq=3, tasks=(END,), outputs=(AskedOutput(run="r1", job=2, block=0, task=3, output="o"),),
        log=(LogEntry(run="r1", n=1, text="line\n"),), resources=HostResources(), state=5,
        listened=(ListenedEntry(run="r1", n=2, text="heard"),),
        files=(FilesEntry(run="r1", n=3, files=(TaskFile(name="a.jpg", data=b"\xff\0x"),)),),
    ),
    Deregister(reason="bye"),
)  # fmt: skip
SERVER_SAYS: tuple[FromServer, ...] = (
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
    messages, good = read_records(data)
    assert good <= max(len(data), len(MAGIC))
    held = replay(messages)
    compact = MAGIC + b"".join(held.records())
    assert replay(read_records(compact)[0]) == held


def journal_of_words(data: bytes) -> None:
    """Records that are whole but say strange things: another version wrote them."""
    for who in (b"S", b"R"):
        journal(MAGIC + _sealed(who, data) + make_record(RECORDS[0]))


def _sealed(who: bytes, body: bytes) -> bytes:
    import struct
    import zlib

    return struct.pack(">cII", who, len(body), zlib.crc32(who + body)) + body


def native(data: bytes) -> None:
    """Whole, and in pieces: the same comes of it."""
    message, problem = _decode(data)
    receiver = afanasy.Receiver()
    dice = random.Random(len(data))  # noqa: S311 - to be repeated
    at, found = 0, None
    try:
        while at < len(data) and found is None:
            size = dice.randint(1, 64)
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
        corpus=tuple(encode(each).encode() for each in RENDER_SAYS),
        allowed=(ProtocolError,),
    ),
    "frames from a server": Target(
        run=from_server,
        corpus=tuple(encode(each).encode() for each in SERVER_SAYS),
        allowed=(ProtocolError,),
    ),
    "a journal": Target(
        run=journal, corpus=(MAGIC + b"".join(make_record(each) for each in RECORDS),), share=0.5
    ),
    "records of a journal": Target(
        run=journal_of_words, corpus=tuple(encode(each).encode() for each in RECORDS), share=0.5
    ),
    "native messages": Target(run=native, corpus=_vectors(), allowed=(ProtocolError,)),
}
