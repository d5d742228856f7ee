"""JSON frames: each message is decoded as it was encoded, and invalid frames are rejected."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_afrender.errors import ProtocolError
from trio_afrender.protocol import json_codec
from trio_afrender.protocol.json_codec import decode_from_render, decode_from_server, encode
from trio_afrender.protocol.messages import (
    Ack,
    AskedOutput,
    CustomMeter,
    Deregister,
    Events,
    FilesEntry,
    FromRender,
    FromServer,
    GpuCard,
    GpuProcess,
    HostResources,
    ListenedEntry,
    LogEntry,
    NetIF,
    Reason,
    Refused,
    Register,
    Registered,
    RunRef,
    TaskExec,
    TaskFile,
    TaskStatus,
    TaskUpdate,
    TaskUsage,
    Unknown,
    Update,
)

# Texts contain everything but NUL, and of the surrogates only escaped bytes.
texts = st.text(
    st.one_of(
        st.characters(exclude_characters="\0", exclude_categories=["Cs"]),
        st.integers(0xDC80, 0xDCFF).map(chr),
    ),
    max_size=8,
)
ints = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
seconds = st.floats(0, 86_400)
percents = st.integers(0, 100)
names = st.from_regex(r"[a-z0-9_]{1,8}\.(png|jpg)", fullmatch=True)
BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {int: ints, float: floats, str: texts}
st.register_type_strategy(TaskFile, st.builds(TaskFile, name=names, data=st.binary(max_size=40)))


def build(cls: type, **given_fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Values of an attrs class: each field by `given_fields`, else by its type."""
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for field in attrs.fields(attrs.resolve_types(cls)):
        kind = field.type
        if field.name in given_fields:
            fields[field.name] = given_fields[field.name]
        elif kind in BY_TYPE:
            fields[field.name] = BY_TYPE[kind]
        else:
            fields[field.name] = st.from_type(kind)
    return st.builds(cls, **fields)


def some(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(strategy, max_size=2).map(tuple)


strings = some(texts)
mappings = st.dictionaries(texts, texts, max_size=2)
counts = st.dictionaries(texts, ints, max_size=2)
meters = build(CustomMeter)
resources = build(
    HostResources,
    cpu_loadavg=st.tuples(ints, ints, ints),
    logged_in_users=strings,
    custom=some(meters),
    gpus=some(
        build(
            GpuCard,
            part=st.none() | ints,
            util=st.none() | ints,
            temp=st.none() | ints,
            power_watt=st.none() | ints,
            power_limit_watt=st.none() | ints,
            processes=some(build(GpuProcess)),
        )
    ),
    stale=strings,
)
execs = build(
    TaskExec,
    environment=mappings,
    files_block=strings,
    files_task=strings,
    multihost_names=strings,
    parsed_files=strings,
    data_integers=counts,
    data_strings=mappings,
    tickets=counts,
)
refs = some(build(RunRef))
updates = build(
    TaskUpdate,
    status=st.sampled_from(TaskStatus),
    percent=percents,
    percentframe=percents,
    parsed_files=strings,
    exit_code=st.none() | ints,
    exit_signal=st.none() | ints,
    started=st.none() | floats,
    finished=st.none() | floats,
    why=some(build(Reason, pids=some(ints))),
    usage=st.none() | build(TaskUsage),
    leftovers=some(ints),
)
from_render: st.SearchStrategy[FromRender] = st.one_of(
    build(
        Register,
        services=strings,
        netifs=some(build(NetIF, addresses=strings)),
        resources=st.none() | resources,
        running=some(execs),
        undelivered=some(execs),
    ),
    build(
        Update,
        tasks=some(updates),
        state=st.none() | ints,
        outputs=some(build(AskedOutput)),
        resources=st.none() | resources,
        log=some(build(LogEntry)),
        listened=some(build(ListenedEntry)),
        files=some(build(FilesEntry)),
    ),
    build(Deregister),
)
settings = {
    "heartbeat_sec": seconds,
    "zombie_time": seconds,
    "exit_no_task_time": seconds,
    "resources_update_period": st.integers(0, 86_400),
}
from_server: st.SearchStrategy[FromServer] = st.one_of(
    build(Registered, resume=strings, stop=strings, **settings),
    build(Refused, retry_after=st.none() | floats),
    build(
        Events,
        tasks=some(execs),
        closes=refs,
        stops=refs,
        suspends=refs,
        resumes=refs,
        outputs=refs,
        listens_add=refs,
        listens_rem=refs,
        **settings,
    ),
    build(Ack),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)


@given(from_render)
def test_messages_of_a_render_are_decoded_as_they_were_encoded(message: FromRender) -> None:
    frame = encode(message)
    assert frame.isascii()
    assert decode_from_render(frame) == message
    assert decode_from_render(frame.encode("ascii")) == message


@given(from_server)
def test_messages_of_a_server_are_decoded_as_they_were_encoded(message: FromServer) -> None:
    frame = encode(message)
    assert frame.isascii()
    assert decode_from_server(frame) == message


def decode_or_refuse(frame: str | bytes) -> None:
    for decode in (decode_from_render, decode_from_server):
        try:
            decode(frame)
        except ProtocolError as error:
            assert str(error)  # noqa: PT017 - a message is as good; only other errors fail


@given(st.binary(max_size=200))
def test_bytes_are_a_message_or_a_protocol_error(frame: bytes) -> None:
    decode_or_refuse(frame)


@given(st.text(max_size=200))
def test_text_is_a_message_or_a_protocol_error(frame: str) -> None:
    decode_or_refuse(frame)


@given(from_render | from_server, st.data())
def test_a_message_with_any_value_changed_is_a_message_or_a_protocol_error(
    message: FromRender | FromServer, data: st.DataObject
) -> None:
    value = json.loads(encode(message))
    spot: Any = value
    while True:
        keys = list(spot) if isinstance(spot, dict) else list(range(len(spot)))
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if isinstance(spot[key], dict | list) and data.draw(st.booleans()):
            spot = spot[key]
            continue
        spot[key] = data.draw(json_values)
        break
    decode_or_refuse(json.dumps(value))


UPDATE = {"type": "update", "seq": 1}
TASK = {"run": "r1", "job": 1, "block": 0, "task": 3, "status": 3}


@pytest.mark.parametrize(
    ("frame", "problem"),
    [
        ("", "frame is not JSON"),
        ("{", "frame is not JSON"),
        (b"\xff\xfe", "frame is not JSON"),
        ("[1]", "frame: expected object"),
        ("{}", "type: missing"),
        ('{"type": 1}', "type: expected string"),
        ('{"type": "update", "seq": NaN}', "frame is not JSON: NaN is not a JSON number"),
        ('{"type": "update", "seq": Infinity}', "frame is not JSON: Infinity is not a JSON number"),
        ('{"type": "update", "seq": 1, "seq": 2}', 'the key "seq" stands twice in an object'),
        ('{"type": "update", "seq": ' + "9" * 5000 + "}", "frame is not JSON"),
        ('{"type": "update", "seq": ' + "[" * 100_000 + "}", "frame nested too deeply"),
        ('{"type": "update", "seq": 9223372036854775808}', "update.seq: expected int of 64 bits"),
        ('{"type": "update"}', "update.seq: missing"),
        ('{"type": "update", "seq": true}', "update.seq: expected int"),
        ('{"type": "update", "seq": "7"}', "update.seq: expected int"),
        ('{"type": "update", "seq": 7.0}', "update.seq: expected int"),
        ('{"type": "update", "seq": null}', "update.seq: expected int"),
        ('{"type": "update", "seq": 1, "tasks": "ab"}', "update.tasks: expected list"),
        ('{"type": "update", "seq": 1, "tasks": {}}', "update.tasks: expected list"),
        ('{"type": "update", "seq": 1, "tasks": [[]]}', "update.tasks[0]: expected object"),
        ('{"type": "deregister", "reason": null}', "deregister.reason: expected string"),
        (
            '{"type":"update","seq":1,"resources":{"cpu_loadavg":[1,2]}}',
            "update.resources.cpu_loadavg: expected list of 3",
        ),
    ],
)  # fmt: skip
def test_the_error_of_a_bad_frame_names_the_field(frame: str | bytes, problem: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode_from_render(frame)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("percent", "7", "update.tasks[1].percent: expected int"),
        ("percent", True, "update.tasks[1].percent: expected int"),
        ("status", 17, "update.tasks[1].status: no status has this number"),
        ("status", "Percent", "update.tasks[1].status: expected int"),
        ("started", "now", "update.tasks[1].started: expected number"),
        ("started", True, "update.tasks[1].started: expected number"),
        ("progress_changed", 1, "update.tasks[1].progress_changed: expected bool"),
        ("parsed_files", ["a", 2], "update.tasks[1].parsed_files[1]: expected string"),
        ("why", [{"time": 1, "event": "exit"}], "update.tasks[1].why[0].text: missing"),
    ],
)
def test_the_error_of_a_bad_task_names_index_and_field(
    field: str, value: object, problem: str
) -> None:
    frame = json.dumps({**UPDATE, "tasks": [TASK, {**TASK, field: value}]})
    with pytest.raises(ProtocolError) as caught:
        decode_from_render(frame)
    assert str(caught.value) == problem


def test_the_error_of_a_bad_mapping_names_the_key() -> None:
    task = {"run": "r", "job": 1, "block": 0, "task": 0, "environment": {"A": "b", "PATH": 1}}
    with pytest.raises(ProtocolError) as caught:
        decode_from_server(json.dumps({"type": "events", "tasks": [task]}))
    assert str(caught.value) == "events.tasks[0].environment['PATH']: expected string"


def test_a_number_too_large_for_a_float_is_rejected() -> None:
    with pytest.raises(ProtocolError, match=r"registered\.zombie_time: expected number"):
        decode_from_server('{"type": "registered", "id": 1, "zombie_time": 1e999}')


def test_a_long_error_is_cut() -> None:
    task = {"run": "r", "job": 1, "block": 0, "task": 0, "environment": {"A" * 10_000: 1}}
    with pytest.raises(ProtocolError) as caught:
        decode_from_server(json.dumps({"type": "events", "tasks": [task]}))
    assert len(str(caught.value)) < 400


def test_an_int_is_converted_where_a_float_is_expected() -> None:
    message = decode_from_server('{"type": "registered", "id": 4, "heartbeat_sec": 2}')
    assert isinstance(message, Registered)
    assert (message.heartbeat_sec, type(message.heartbeat_sec)) == (2, float)


def test_numbers_out_of_range_are_clamped() -> None:
    task = {**TASK, "percent": 4000, "percentframe": -7}
    update = decode_from_render(json.dumps({**UPDATE, "tasks": [task]}))
    assert isinstance(update, Update)
    assert (update.tasks[0].percent, update.tasks[0].percentframe) == (100, 0)
    events = decode_from_server(
        '{"type": "events", "zombie_time": -1, "heartbeat_sec": 1e30, "resources_update_period": -2}'
    )
    assert isinstance(events, Events)
    assert (events.zombie_time, events.heartbeat_sec) == (0, 86_400)
    assert (events.resources_update_period, type(events.resources_update_period)) == (0, int)


def test_unknown_fields_are_ignored_and_unknown_types_kept_raw() -> None:
    assert decode_from_server('{"type": "ack", "seq": 3, "colour": {"a": [1]}}') == Ack(seq=3)
    raw = {"type": "weather", "rain": True}
    message = decode_from_server(json.dumps(raw))
    assert message == Unknown(type="weather", raw=raw)
    assert json.loads(encode(message)) == raw


def test_each_side_decodes_messages_of_the_other_side_only() -> None:
    assert isinstance(decode_from_server(encode(Update(seq=1))), Unknown)
    assert isinstance(decode_from_render(encode(Ack(seq=1))), Unknown)


def test_a_status_is_sent_as_number_and_name() -> None:
    update = TaskUpdate(run="r", job=1, block=2, task=3, status=TaskStatus.GiveBack)
    (task,) = json.loads(encode(Update(seq=1, tasks=(update,))))["tasks"]
    assert (task["status"], task["status_name"]) == (15, "GiveBack")


def test_defaults_are_left_out() -> None:
    assert encode(Ack(seq=5)) == '{"type":"ack","seq":5}'


def test_bytes_that_are_not_utf8_are_preserved() -> None:
    printed = b"caf\xe9 \xff\x80\n\xf0\x9f\x8e\xac"
    text = printed.decode("utf-8", "surrogateescape")
    frame = encode(Update(seq=1, log=(LogEntry(run="r", n=0, text=text),)))
    assert frame.isascii()
    update = decode_from_render(frame)
    assert isinstance(update, Update)
    assert update.log[0].text.encode("utf-8", "surrogateescape") == printed


def test_nul_and_surrogates_that_are_no_escaped_bytes_are_replaced_both_ways() -> None:
    hostile = "a\0b\ud83dc\udfffd\udc41"
    safe = "a\u2400b\ufffdc\ufffdd\ufffd"
    assert json.loads(encode(Deregister(reason=hostile)))["reason"] == safe
    frame = json.dumps({"type": "deregister", "reason": hostile})
    assert decode_from_render(frame) == Deregister(reason=safe)


def test_nan_is_rejected_before_it_is_sent() -> None:
    with pytest.raises(ProtocolError, match=r"registered: .*not JSON compliant"):
        encode(Registered(id=1, zombie_time=math.nan))


def test_the_size_limit_of_a_frame_holds_both_ways() -> None:
    room = json_codec.MAX_FRAME - len(encode(Deregister(reason="x"))) + 1
    frame = encode(Deregister(reason="x" * room))
    assert len(frame) == json_codec.MAX_FRAME
    assert decode_from_render(frame) == Deregister(reason="x" * room)
    with pytest.raises(ProtocolError, match="deregister: 8388609 bytes"):
        encode(Deregister(reason="x" * (room + 1)))
    with pytest.raises(ProtocolError, match="frame of 8388609 bytes"):
        decode_from_render(frame + " ")


def test_a_list_of_a_million_wrong_items_is_one_error() -> None:
    frame = '{"type":"update","seq":1,"tasks":[' + "1," * 1_000_000 + "1]}"
    with pytest.raises(ProtocolError, match=r"update\.tasks\[0\]: expected object"):
        decode_from_render(frame)


def send_files(*files: dict[str, str]) -> Update:
    entry = {"run": "r", "n": 0, "files": list(files)}
    message = decode_from_render(json.dumps({**UPDATE, "files": [entry]}))
    assert isinstance(message, Update)
    return message


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def test_file_names_are_reduced_to_base_names_and_unusable_ones_left_out() -> None:
    wanted = ["../../etc/passwd", "C:\\temp\\a.png", "/", "..", ".", "", "a/..", "x" * 256, "b"]
    update = send_files(*({"name": name, "data": "YQ=="} for name in wanted))
    assert [file.name for file in update.files[0].files] == ["passwd", "a.png", "b"]


@pytest.mark.parametrize("data", ["YQ", "YQ==\n", "Y Q==", "\u00e9", "YQ===", "Y*=="])
def test_base64_is_strict(data: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        send_files({"name": "a", "data": data})
    assert str(caught.value) == "update.files[0].files[0].data: expected base64 string"


def test_a_file_has_fewer_bytes_than_the_limit() -> None:
    update = send_files({"name": "a", "data": encoded(bytes(99_999))})
    assert len(update.files[0].files[0].data) == 99_999
    for size in (100_000, 2_000_000):
        with pytest.raises(ProtocolError, match=r"data: a file must have fewer than 100000 bytes"):
            send_files({"name": "a", "data": encoded(bytes(size))})


def test_all_files_of_an_update_have_a_limit_together() -> None:
    file = {"name": "a", "data": encoded(bytes(99_000))}
    send_files(*[file] * 31)
    with pytest.raises(ProtocolError, match=r"update\.files: 3168000 bytes"):
        send_files(*[file] * 32)


@pytest.mark.parametrize("files", ["a", [1], [{"name": "a"}], {"name": "a"}])
def test_files_of_a_wrong_type_are_rejected(files: object) -> None:
    with pytest.raises(ProtocolError, match=r"update\.files\[0\]\.files"):
        decode_from_render(json.dumps({**UPDATE, "files": [{"run": "r", "n": 0, "files": files}]}))
