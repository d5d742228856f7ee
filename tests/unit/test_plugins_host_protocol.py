"""Messages between agent and plugin host are decoded as they were sent, or refused."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.plugins import make_spec

from trio_afrender.config import PluginSettings
from trio_afrender.errors import PluginError, PluginNotFound, ProtocolError
from trio_afrender.plugins.host import host_protocol
from trio_afrender.plugins.interfaces import Conclusion, ParserState, Replaced, ServiceFacts

TEXT = st.text(st.characters(), max_size=20)


def through_json(value: object) -> object:
    return json.loads(json.dumps(value))


@given(st.lists(st.dictionaries(TEXT, TEXT, max_size=3), max_size=5), st.integers(1, 50))
def test_frames_survive_any_chunking(messages: list[dict[str, object]], size: int) -> None:
    stream = b"".join(map(host_protocol.pack, messages))
    frames = host_protocol.PluginFrameReader()
    found = [
        message
        for at in range(0, len(stream), size)
        for message in frames.feed(stream[at : at + size])
    ]
    assert found == messages


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">I", host_protocol.MAX_PLUGIN_FRAME + 1),
        struct.pack(">I", 2) + b"[]",
        struct.pack(">I", 3) + b"{x}",
        struct.pack(">I", 2) + b"\xff\xff",
        struct.pack(">I", 100_000) + b"[" * 100_000,
        b"this is not a frame",
    ],
)
def test_invalid_frames_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        list(host_protocol.PluginFrameReader().feed(data))


def test_a_frame_that_is_too_large_is_refused() -> None:
    with pytest.raises(ProtocolError, match="too large"):
        host_protocol.pack({"x": "y" * host_protocol.MAX_PLUGIN_FRAME})


@given(TEXT, st.integers(), st.booleans(), st.lists(TEXT, max_size=3))
def test_values_are_decoded_as_they_were_sent(
    text: str, number: int, flag: bool, texts: list[str]
) -> None:
    names = tuple(texts)
    facts = ServiceFacts(
        working_directory=text, command=text, environment={text: text}, files=names, skip=flag,
        has_parser=flag, wants_ticks=flag, wants_tail=flag, grace=2.0 if flag else None, log=text,
        limits={"output": number, "run_time": 2.5}, stuck={"policy": text, "cpu": 0.5},
    )  # fmt: skip
    assert host_protocol.load_facts(through_json(host_protocol.dump_facts(facts))) == facts
    state = ParserState(
        percent=number, warning=flag, activity=text, files=names, files_onthefly=names,
        consumed=number, replaced=(Replaced(start=0, end=number, text=text),) if flag else (),
    )  # fmt: skip
    assert host_protocol.load_state(through_json(host_protocol.dump_state(state))) == state
    kept = text.replace("\0", "")  # settings have none
    extensions = tuple(name.replace("\0", "") for name in texts)
    settings = PluginSettings(paths_map=((kept, kept),), thumbnail_extensions=extensions)
    dumped = through_json(host_protocol.dump_plugin_settings(settings))
    assert host_protocol.load_plugin_settings(dumped) == settings  # type: ignore[arg-type]  # a dict
    spec = make_spec(text, environment={text: text})
    assert host_protocol.load_spec(through_json(host_protocol.dump_spec(spec))) == spec  # type: ignore[arg-type]  # a dict


def test_errors_keep_their_class() -> None:
    not_found = host_protocol.load_error(
        through_json(host_protocol.dump_error(PluginNotFound("parser", "x", ("y",))))
    )
    assert isinstance(not_found, PluginNotFound)
    assert (not_found.kind, not_found.name, not_found.near) == ("parser", "x", ("y",))
    broken = host_protocol.load_error(
        through_json(host_protocol.dump_error(PluginError("text", "details")))
    )
    assert type(broken) is PluginError
    assert (str(broken), broken.details) == ("text", "details")


@pytest.mark.parametrize(
    "value",
    [None, [], {"percent": "1"}, {"warning": 1}, {"activity": None}, {"files": "a"},
     {"files": [1]}, {"replaced": [[1, 2]]}, {"replaced": [[1, 2, 3]]}, {"replaced": 7},
     {"percent": True}],
)  # fmt: skip
def test_a_state_of_wrong_types_is_refused(value: object) -> None:
    with pytest.raises(ProtocolError):
        host_protocol.load_state(value)


def test_replies_of_wrong_types_are_refused() -> None:
    with pytest.raises(ProtocolError):
        host_protocol.load_conclusion({"exit_ok": 1})
    with pytest.raises(ProtocolError):
        host_protocol.load_texts("text")
    with pytest.raises(ProtocolError):
        host_protocol.load_text(None)
    with pytest.raises(ProtocolError):
        host_protocol.load_conclusion({"exit_ok": True, "post_limit": True})
    with pytest.raises(ProtocolError):
        host_protocol.load_error("no object")
    with pytest.raises(ProtocolError):
        host_protocol.load_facts({"environment": {"a": 1}})
    with pytest.raises(ProtocolError, match="lack working_directory, environment"):
        host_protocol.load_facts({"command": "c"})
    conclusion = Conclusion(exit_ok=True, post=("a", "b"), post_limit=3.5, log="text")
    assert (
        host_protocol.load_conclusion(
            json.loads(json.dumps(host_protocol.dump_conclusion(conclusion)))
        )
        == conclusion
    )
