"""Binary messages: recorded ones byte for byte, generated ones in both directions, invalid ones."""

from __future__ import annotations

import json
import struct
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_afrender.errors import ProtocolError
from trio_afrender.protocol.afanasy import (
    MAX_BODY,
    IpAddress,
    Json,
    Message,
    OutputText,
    Receiver,
    RenderDeregister,
    RenderEvents,
    RenderId,
    RenderRegister,
    RenderUpdate,
    TaskUp,
    VersionMismatch,
    decode,
    encode,
)
from trio_afrender.protocol.afanasy.composite_types import (
    Listed,
    Mapped,
    Optional,
    RecordType,
    Repeated,
)
from trio_afrender.protocol.afanasy.field_types import BOOL, MAX_ITEMS, STR, FieldType, Number, Raw
from trio_afrender.protocol.afanasy.schema import EVENTS, REGISTER, UPDATE, Payload
from trio_afrender.protocol.messages import HostResources, TaskExec, TaskFile, TaskKey

DATA = Path(__file__).resolve().parents[1] / "data" / "afanasy_vectors.json"
VECTORS = json.loads(DATA.read_text(encoding="utf-8"))
BINARY = [vector for vector in VECTORS if "type" in vector["decoded"]]
UPDATE_BYTES = bytes.fromhex("00000051000000230000000d0000000100000000000000006e")


def by_name(vectors: list[dict[str, Any]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", vectors, ids=[each["name"] for each in vectors])


# -- recorded messages ---------------------------------------------------------------------------


def test_all_recorded_messages_are_present() -> None:
    assert len(VECTORS) == 48
    assert {each["decoded"]["type"] for each in BINARY} == {1, 8, 9, 34, 35, 36}


@by_name(VECTORS)
def test_a_recorded_message_is_encoded_byte_for_byte(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"])
    assert encode(decode(data)) == data


@by_name(BINARY)
def test_a_recorded_message_has_the_recorded_meaning(vector: dict[str, Any]) -> None:
    message = decode(bytes.fromhex(vector["hex"]))
    expected = vector["decoded"]["value"]
    match message:
        case RenderId() | RenderDeregister():
            assert message.id == expected
        case VersionMismatch():
            assert message.value == expected
        case RenderRegister() | RenderUpdate() | RenderEvents():
            assert describe(message) == expected
        case _:
            pytest.fail(f"unexpected {message!r}")


def describe(message: Message) -> dict[str, Any]:
    """Return a message with the field names of the recording."""
    match message:
        case RenderEvents():
            keys = ("closes", "stops", "outputs", "listens_add", "listens_rem")
            return {
                **plain(message, "tasks", *keys),
                "tasks": [describe_exec(task) for task in message.tasks],
                **{name: [describe_key(key) for key in getattr(message, name)] for name in keys},
            }
        case RenderUpdate():
            return {
                "id": message.id,
                "taskups": [describe_up(up) for up in message.taskups],
                "outputs": [
                    {**describe_key(each.key), "output": each.text} for each in message.outputs
                ],
                "resources": describe_resources(message.resources),
            }
        case RenderRegister():
            made = plain(message, "tasks", "address", "resources", "netifs")
            return {
                **made,
                "tasks": [describe_exec(task) for task in message.tasks],
                "address": describe_address(message.address),
                "host_resources": describe_resources(message.resources),
                "netifs": [
                    {
                        "name": netif.name,
                        "mac": netif.mac.hex(),
                        "addresses": [describe_address(each) for each in netif.addresses],
                    }
                    for netif in message.netifs
                ],
            }
    raise AssertionError(message)


def plain(value: attrs.AttrsInstance, *without: str) -> dict[str, Any]:
    fields = {
        f.name: getattr(value, f.name) for f in attrs.fields(type(value)) if f.name not in without
    }
    return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}


def describe_key(key: TaskKey) -> dict[str, int]:
    return {
        "job_id": key.job,
        "block_num": key.block,
        "task_num": key.task,
        "number": key.number,
    }


def describe_exec(task: TaskExec) -> dict[str, Any]:
    return {**plain(task, "run", "job", "block", "task", "number"), **describe_key(task.key)}


def describe_up(up: TaskUp) -> dict[str, Any]:
    made = plain(up, "job", "block", "task", "number", "percentframe", "data", "files")
    return {
        **made,
        **describe_key(up.key),
        "percent_frame": up.percentframe,
        "data": up.data.decode("utf-8", "surrogateescape"),
        "files": [{"name": file.name, "data": file.data.hex()} for file in up.files],
    }


def describe_address(address: IpAddress) -> dict[str, Any]:
    return {"family": address.family, "port": address.port, "addr": address.packed.hex()}


def describe_resources(resources: HostResources | None) -> dict[str, Any] | None:
    if resources is None:
        return None
    made = plain(resources, "cpu_loadavg", "custom", "gpus", "stale")
    made.update({f"cpu_loadavg{i + 1}": load for i, load in enumerate(resources.cpu_loadavg)})
    return {**made, "custom": [plain(meter) for meter in resources.custom]}


# -- generated messages --------------------------------------------------------------------------

TEXT = st.binary(max_size=12).map(lambda data: data.decode("utf-8", "surrogateescape"))
FILES = st.builds(TaskFile, name=TEXT, data=st.binary(max_size=20))


def values(kind: FieldType[Any]) -> st.SearchStrategy[Any]:
    """Generate all values of a field type: from the tables, so that no field is left out."""
    match kind:
        case Number():
            bits = 8 * kind.min_size
            low, high = (
                (0, 2**bits) if kind.code.isupper() else (-(2 ** (bits - 1)), 2 ** (bits - 1))
            )
            return st.integers(low, high - 1)
        case Raw():
            return st.binary(min_size=kind.min_size, max_size=kind.min_size)
        case Listed():
            return st.lists(values(kind.item), max_size=3).map(tuple)
        case Repeated():
            return st.tuples(*[values(kind.item)] * kind.times)
        case Mapped():
            return st.dictionaries(TEXT, values(kind.value), max_size=3)
        case Optional():
            return st.none() | values(kind.value)
        case Payload():
            return st.tuples(st.binary(max_size=20), st.lists(FILES, max_size=3).map(tuple))
        case RecordType():
            return records(kind)
    return {BOOL: st.booleans(), STR: TEXT}[kind]


def records(record: RecordType[Any]) -> st.SearchStrategy[Any]:
    parts = {names: values(kind) for names, kind in record.parts}

    def make(found: dict[tuple[str, ...], object]) -> object:
        fields = dict(record.fixed)
        for names, value in found.items():
            several = value if isinstance(value, tuple) and len(names) > 1 else (value,)
            fields.update(zip(names, several, strict=True))
        return record.make(**fields)

    return st.fixed_dictionaries(parts).map(make)


MESSAGES: st.SearchStrategy[Message] = st.one_of(
    records(REGISTER),
    records(UPDATE),
    records(EVENTS),
    st.integers(-(2**31), 2**31 - 1).map(lambda n: RenderId(id=n)),
    st.integers(-(2**31), 2**31 - 1).map(lambda n: RenderDeregister(id=n)),
    st.builds(VersionMismatch, version=st.integers(1, 2**16 - 1), value=st.integers(0, 99)),
    st.builds(Json, body=st.binary(min_size=1, max_size=40), text=st.booleans()),
)


@given(MESSAGES)
def test_every_message_survives_encoding(message: Message) -> None:
    data = encode(message)
    assert decode(data) == message
    assert encode(decode(data)) == data


@given(MESSAGES, st.data())
def test_a_message_in_any_chunks_is_the_same(message: Message, data: st.DataObject) -> None:
    sent = encode(message)
    receiver = Receiver()
    assert not receiver.begun
    while sent:
        size = data.draw(st.integers(1, len(sent)))
        found = receiver.feed(sent[:size])
        sent = sent[size:]
        assert (found is None) == bool(sent)
    assert found == message
    assert receiver.begun


@given(MESSAGES)
def test_spaces_after_a_message_are_ignored(message: Message) -> None:
    """The server sends spaces to check whether its client is still connected."""
    receiver = Receiver()
    assert receiver.feed(encode(message) + b"   ") == message
    assert receiver.surplus == 3


def test_a_map_is_written_in_byte_order_of_its_keys() -> None:
    task = TaskExec(run="", job=2, block=0, task=0, environment={"é": "1", "z": "2", "a": "3"})
    data = encode(RenderEvents(id=1, tasks=(task,)))
    assert data.index(b"a\0") < data.index(b"z\0") < data.index("é\0".encode())


# -- values out of range -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "place"),
    [
        (RenderId(id=2**31), "2147483648 does not fit into a header"),
        (RenderUpdate(id=-(2**31) - 1), r"RenderUpdate.id: -2147483649 is no integer of 32 bits"),
        (
            RenderUpdate(id=1, taskups=(TaskUp(client_id=1, job=1, block=0, task=0, status=200),)),
            r"RenderUpdate.taskups\[0\].status: 200 is no integer of 8 bits",
        ),
        (
            RenderUpdate(id=1, resources=HostResources(cpu_loadavg=(1, 256, 0))),
            r"RenderUpdate.resources.cpu_loadavg: 256 is no unsigned integer of 8 bits",
        ),
        (
            RenderUpdate(id=1, outputs=(OutputText(key=TaskKey(1, 0, 0), text="\ud800"),)),
            r"RenderUpdate.outputs\[0\].text: no text: surrogates not allowed at 0",
        ),
        (
            RenderEvents(
                id=1,
                tasks=(TaskExec(run="", job=1, block=0, task=0, data_integers={"x": 2**63}),),
            ),
            r"RenderEvents.tasks\[0\].data_integers\['x'\]: 9223372036854775808 is no",
        ),
        (
            RenderRegister(name="n", resources=HostResources(), netifs=(Any,) * 128),  # type: ignore[arg-type]  # only their number matters
            r"RenderRegister.netifs: 128 is no integer of 8 bits",
        ),
        (Json(body=b""), "a message of 0 bytes"),
    ],
)
def test_an_error_names_the_field_that_is_out_of_range(message: Message, place: str) -> None:
    with pytest.raises(ProtocolError, match=place):
        encode(message)


def test_a_message_larger_than_the_server_accepts_is_refused() -> None:
    with pytest.raises(ProtocolError, match=f"at most {MAX_BODY} are allowed"):
        encode(Json(body=bytes(MAX_BODY + 1)))


# -- invalid bytes from the network --------------------------------------------------------------


@by_name(VECTORS)
def test_a_truncated_message_is_incomplete(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"])
    for end in range(len(data)):
        assert Receiver().feed(data[:end]) is None
        with pytest.raises(ProtocolError):
            decode(data[:end])


@by_name([each for each in BINARY if each["decoded"]["type"] >= 34])
def test_a_body_cut_short_is_refused(vector: dict[str, Any]) -> None:
    """The header matches the number of bytes, but a field is cut, or bytes are left over."""
    data = bytes.fromhex(vector["hex"])
    for end in range(13, len(data), 3):
        with pytest.raises(ProtocolError):
            decode(data[:8] + struct.pack(">i", end - 12) + data[12:end])
    with pytest.raises(ProtocolError, match="1 bytes too many"):
        decode(data[:8] + struct.pack(">i", len(data) - 11) + data[12:] + b"\0")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (struct.pack(">iii", 80, 8, 1), "protocol version 80 instead of 81"),
        (struct.pack(">iii", 82, 36, 100), "protocol version 82 instead of 81"),
        (b"HTTP/1.1 400 Bad Request\r\n", "not the Afanasy protocol"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "not the Afanasy protocol"),
        (bytes(12), "not the Afanasy protocol"),
        (struct.pack(">iii", -81, 8, 1), "not the Afanasy protocol"),
        (struct.pack(">iii", 81, 63, 8), "a message of type 63"),
        (struct.pack(">iii", 81, -1, 8), "a message of type -1"),
        (struct.pack(">iii", 81, 2, 8), "a message of type 2"),
        (struct.pack(">iii", 81, 36, 0), "a message of 0 bytes"),
        (struct.pack(">iii", 81, 36, -1), "a message of -1 bytes"),
        (struct.pack(">iii", 81, 36, 2**31 - 1), "a message of 2147483647 bytes"),
        (struct.pack(">iii", 81, 35, MAX_BODY + 1), "a message of 67108853 bytes"),
        (b"AFANASY 99999999 JSON{", "a text of 99999999 bytes"),
        (b"AFANASY 12 YAML" + bytes(30), "not a text header"),
        (b"AFANASY 2" + b" " * 40 + b"JSON{}", "not a text header"),
        (b"AFANASY 1234567890 JSON{" + bytes(30), "not a text header"),
        (b"AFANASY -5 JSON{}" + bytes(30), "not a text header"),
    ],
)
def test_an_invalid_header_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(ProtocolError, match=problem):
        Receiver().feed(data)


def make_events(*, taken: int, instead: bytes) -> bytes:
    """Return empty events whose body has `instead` after its first `taken` bytes."""
    body = encode(RenderEvents(id=1))[12:]
    body = body[:taken] + instead
    return struct.pack(">iii", 81, 36, len(body)) + body


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        # The five settings take 20 bytes, then the lists begin.
        (make_events(taken=20, instead=struct.pack(">i", -1)), "tasks: announces -1 items"),
        (
            make_events(taken=20, instead=struct.pack(">i", 2**31 - 1)),
            "tasks: announces 2147483647",
        ),
        (make_events(taken=24, instead=struct.pack(">i", 5) + bytes(79)), "closes: announces 5"),
        (make_events(taken=44, instead=bytes(4)), "instruction: a string of length 0"),
        (make_events(taken=44, instead=b"\xff\xff\xff\xff"), "instruction: expected 4294967295 b"),
        (make_events(taken=44, instead=b"\0\0\0\x02ab"), "instruction: a string without its NUL"),
    ],
)
def test_hostile_lengths_are_refused(data: bytes, problem: str) -> None:
    with pytest.raises(ProtocolError, match=problem):
        decode(data)


def make_payload(*numbers: int, rest: bytes = b"") -> bytes:
    """Return an update of one task with these numbers and bytes for its output and files."""
    up = TaskUp(client_id=1, job=1, block=0, task=0, status=5)
    data = encode(RenderUpdate(id=1, taskups=(up,)))
    body = data[12 : -len(bytes(8 + 4 + 1))] + struct.pack(f">{len(numbers)}i", *numbers) + rest
    return struct.pack(">iii", 81, 35, len(body)) + body


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (make_payload(-1, 0), "data: output of -1 bytes, 0 files"),
        (make_payload(0, -1), "data: output of 0 bytes, -1 files"),
        (make_payload(2**30, 0), "data: expected 1073741824 bytes"),
        (make_payload(0, 1, 5, 2, 1, 4, 0), "data: 1 files with 2 sizes and 0 names"),
        (make_payload(0, 1, 5, 1, 4, 1, 1, rest=b"\0abcd"), "does not match the sizes"),
        (make_payload(0, 1, -4, 1, -4, 1, 1, rest=b"\0abcd"), "does not match the sizes"),
        (make_payload(0, 1, 2**30, 1, 2**30, 1, 1, rest=b"\0abcd"), "does not match the sizes"),
    ],
)
def test_hostile_payloads_are_refused(data: bytes, problem: str) -> None:
    with pytest.raises(ProtocolError, match=problem):
        decode(data)


@given(st.sampled_from(VECTORS), st.data())
@settings(max_examples=300)
def test_a_changed_byte_gives_a_message_or_a_protocol_error(
    vector: dict[str, Any], data: st.DataObject
) -> None:
    changed = bytearray.fromhex(vector["hex"])
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ProtocolError):
        decode(bytes(changed))


@given(st.binary(max_size=200))
def test_any_body_gives_a_message_or_a_protocol_error(body: bytes) -> None:
    for number in (34, 35, 36):
        with suppress(ProtocolError):
            decode(struct.pack(">iii", 81, number, len(body)) + body)


def test_many_small_items_take_little_memory() -> None:
    """For the largest message of the smallest items, memory stays below five times its size."""
    count = MAX_ITEMS + 1
    items = struct.pack(">i", count) + bytes(16 * count)
    data = make_events(taken=24, instead=items)
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match="more than 65536 items"):
            decode(data)
        assert tracemalloc.get_traced_memory()[1] < 5 * len(data)
    finally:
        tracemalloc.stop()


def test_an_announced_length_takes_no_memory() -> None:
    tracemalloc.start()
    try:
        assert Receiver().feed(struct.pack(">iii", 81, 36, MAX_BODY)) is None
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_an_idle_update_is_25_bytes() -> None:
    assert encode(RenderUpdate(id=1)) == UPDATE_BYTES
