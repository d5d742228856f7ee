"""What plugins say through the socket of their host, and keepers and parents through theirs."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping

from fuzz.targets import Target
from trio_afrender.errors import ProtocolError
from trio_afrender.message_framing import FrameError, Frames, encode
from trio_afrender.plugins.host import host_protocol
from trio_afrender.plugins.interfaces import Conclusion, ParserState, Replaced, ServiceFacts
from trio_afrender.process.supervised_tree import read_end
from trio_afrender.supervisor.protocol import LogSpec, State, TaskSpec

__all__ = ("TARGETS",)

FROM: Mapping[str, Callable[[object], object]] = {
    "error": host_protocol.error_from,
    "facts": host_protocol.facts_from,
    "state": host_protocol.state_from,
    "conclusion": host_protocol.conclusion_from,
    "classes": host_protocol.classes_from,
    "text": host_protocol.text_from,
    "texts": host_protocol.texts_from,
}
STATE = ParserState(percent=3, activity="x", replaced=(Replaced(start=1, end=2, text="t"),))
SAID: Mapping[str, object] = {
    "error": {"text": "t", "details": "d", "kind": "parser", "name": "n", "near": ["m"]},
    "facts": host_protocol.facts_to(
        ServiceFacts(working_directory="/w", command="c", environment={"A": "b"})
    ),
    "state": host_protocol.state_to(STATE),
    "conclusion": host_protocol.conclusion_to(Conclusion(exit_ok=True)),
    "classes": [["disk-full", "text", True]],
    "text": "text",
    "texts": ["a", "b"],
}


def stream(data: bytes) -> None:
    """Frames in pieces, and what their values are."""
    frames = host_protocol.Frames()
    for at in range(0, len(data), 7):
        for message in frames.feed(data[at : at + 7]):
            _take(message)


def value(data: bytes) -> None:
    """One frame that is whole, whatever is in it."""
    for message in host_protocol.Frames().feed(len(data).to_bytes(4, "big") + data):
        _take(message)


def keeper(data: bytes) -> None:
    """What agent, keeper and parents say to each other."""
    for message in Frames().feed(data):
        State.from_json(message)
        TaskSpec.from_json(message)


def end_of_tree(data: bytes) -> None:
    """The word that a parent leaves of the end of its tree."""
    with tempfile.NamedTemporaryFile(prefix="fuzz-", suffix=".end") as file:
        file.write(data)
        file.flush()
        read_end(file.name.removesuffix(".end"))


def _take(message: Mapping[str, object]) -> None:
    for kind, make in FROM.items():
        if kind in message:
            make(message[kind])


CORPUS = tuple({"id": 1, kind: said} for kind, said in SAID.items())
SPEC = TaskSpec(
    argv=("a",), cwd="/", environment={}, log=LogSpec(folder="f", quota=1, segment=1, held=1)
)
TARGETS = {
    "a keeper's words": Target(
        run=keeper,
        corpus=(encode(SPEC.to_json()) + encode({**SPEC.to_json(), **State(pid=3).to_json()}),),
        allowed=(FrameError,),
    ),
    "ends of trees": Target(
        run=end_of_tree,
        corpus=(json.dumps(State(raw=0, empty=True).to_json()).encode(),),
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
