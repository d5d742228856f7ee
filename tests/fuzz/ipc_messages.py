"""Messages of plugin hosts, of the supervisor and of task supervisors."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping

from fuzz.targets import Target
from trio_afrender.errors import ProtocolError
from trio_afrender.message_framing import FrameError, FrameReader, encode
from trio_afrender.plugins.host import host_protocol
from trio_afrender.plugins.interfaces import Conclusion, ParserState, Replaced, ServiceFacts
from trio_afrender.process.supervised_tree import read_exit_record
from trio_afrender.supervisor.protocol import LaunchSpec, LogSpec, TreeState

__all__ = ("TARGETS",)

LOADERS: Mapping[str, Callable[[object], object]] = {
    "error": host_protocol.load_error,
    "facts": host_protocol.load_facts,
    "state": host_protocol.load_state,
    "conclusion": host_protocol.load_conclusion,
    "classes": host_protocol.load_classes,
    "text": host_protocol.load_text,
    "texts": host_protocol.load_texts,
}
STATE = ParserState(percent=3, activity="x", replaced=(Replaced(start=1, end=2, text="t"),))
VALUES: Mapping[str, object] = {
    "error": {"text": "t", "details": "d", "kind": "parser", "name": "n", "near": ["m"]},
    "facts": host_protocol.dump_facts(
        ServiceFacts(working_directory="/w", command="c", environment={"A": "b"})
    ),
    "state": host_protocol.dump_state(STATE),
    "conclusion": host_protocol.dump_conclusion(Conclusion(exit_ok=True)),
    "classes": [["disk-full", "text", True]],
    "text": "text",
    "texts": ["a", "b"],
}


def stream(data: bytes) -> None:
    """Frames in pieces, and the values in them."""
    frames = host_protocol.PluginFrameReader()
    for at in range(0, len(data), 7):
        for message in frames.feed(data[at : at + 7]):
            _load(message)


def value(data: bytes) -> None:
    """One complete frame with any contents."""
    for message in host_protocol.PluginFrameReader().feed(len(data).to_bytes(4, "big") + data):
        _load(message)


def supervisor(data: bytes) -> None:
    """Messages between agent, supervisor and task supervisors."""
    for message in FrameReader().feed(data):
        TreeState.from_json(message)
        LaunchSpec.from_json(message)


def end_of_tree(data: bytes) -> None:
    """The record that a task supervisor writes at the end of its tree."""
    with tempfile.NamedTemporaryFile(prefix="fuzz-", suffix=".end") as file:
        file.write(data)
        file.flush()
        read_exit_record(file.name.removesuffix(".end"))


def _load(message: Mapping[str, object]) -> None:
    for kind, make in LOADERS.items():
        if kind in message:
            make(message[kind])


CORPUS = tuple({"id": 1, kind: value} for kind, value in VALUES.items())
SPEC = LaunchSpec(
    argv=("a",), cwd="/", environment={}, log=LogSpec(folder="f", quota=1, segment=1, held=1)
)
TARGETS = {
    "messages of supervisors": Target(
        run=supervisor,
        corpus=(encode(SPEC.to_json()) + encode({**SPEC.to_json(), **TreeState(pid=3).to_json()}),),
        allowed=(FrameError,),
    ),
    "records of tree ends": Target(
        run=end_of_tree,
        corpus=(json.dumps(TreeState(raw=0, empty=True).to_json()).encode(),),
        share=0.5,
    ),
    "the plugin host's stream": Target(
        run=stream,
        corpus=(b"".join(map(host_protocol.pack, CORPUS)), host_protocol.pack(CORPUS[1])),
        allowed=(ProtocolError,),
    ),
    "values from plugins": Target(
        run=value,
        corpus=tuple(json.dumps(each).encode() for each in CORPUS),
        allowed=(ProtocolError,),
    ),
}
