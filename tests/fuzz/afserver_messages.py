"""What an Afanasy server answers, up to where it has become words of a session; and its own meters."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

from fuzz.targets import Target
from trio_afrender.afserver.json_api import parse_answer
from trio_afrender.afserver.link_state import Identity
from trio_afrender.afserver.pacing import resolve
from trio_afrender.afserver.run_ids import RunIds
from trio_afrender.afserver.server_view import check_registration, find, read_server_view
from trio_afrender.config import Timing
from trio_afrender.errors import ProtocolError
from trio_afrender.plugins.meters.values import meter_from
from trio_afrender.protocol import afanasy
from trio_afrender.protocol.json_codec import encode
from trio_afrender.protocol.messages import Register, TaskExec

__all__ = ("TARGETS",)

DATA = Path(__file__).parents[1] / "data"
TASKS = tuple(TaskExec(run=f"r{i}", job=2, block=0, task=i, time_start=1000) for i in range(3))
RENDER = {
    "id": 3, "name": "n1", "st": 1, "time_launch": 1000,
    "tasks": [{"job_id": 2, "block_num": 0, "task_num": 1, "time_start": 1000, "number": 0}],
}  # fmt: skip
LISTED = json.dumps({"renders": [RENDER]}).encode()
BROKEN = (
    b'{"renders":[\n{"name":"n1",\n"id":3,\n"st":1,\n"time_launch":5,\n"tasks":[{"name":"a"b"}]}]}'
)
METER = {
    "label": "l", "tooltip": "t", "value": 3, "valuemax": 100, "width": 10, "height": 20,
    "labelsize": 7, "graphr": 1, "graphg": 2, "graphb": 3, "labelr": 1, "labelg": 2, "labelb": 3,
    "bgcolorr": 0, "bgcolorg": 0, "bgcolorb": 0,
}  # fmt: skip


def _runs() -> RunIds:
    numbers = count(1)
    runs = RunIds(lambda _: f"new{next(numbers)}")
    runs.take(Register(name="n1", running=TASKS[:2], undelivered=TASKS[2:]))
    return runs


def events(data: bytes) -> None:
    """Answers to a register and to updates; what comes of them can be said in a session."""
    said = afanasy.decode(data)
    if not isinstance(said, afanasy.RenderEvents):
        return
    resolve(said, Timing())
    for listed in (True, False):
        runs = _runs()
        encode(runs.registered(said, listed=listed).registered)
        for _ in range(2):
            heard = runs.apply_update_answer(said)
            if heard.events is not None:
                encode(heard.events)
        assert len({task.run for task in runs.tasks}) == len(runs.tasks)


def beliefs(data: bytes) -> None:
    found = read_server_view(data)
    if found is not None:
        belief = find(found, "n1")
        check_registration(belief, 3, 1000)
        if belief is not None:
            encode(_runs().continue_runs(belief).registered)


def identity(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    made = Identity.read(text, server="af://s", name="n1")
    assert (made.server, made.name) == ("af://s", "n1")


def answer(data: bytes) -> None:
    parse_answer(data, "af://s")


def meter(data: bytes) -> None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return  # the exchange's own target has these
    meter_from(value)


def _vectors() -> tuple[bytes, ...]:
    vectors = json.loads((DATA / "afanasy_vectors.json").read_text())
    return tuple(bytes.fromhex(v["hex"]) for v in vectors if v["direction"] == "server->render")


TARGETS = {
    "native events in a session": Target(run=events, corpus=_vectors(), allowed=(ProtocolError,)),
    "what a server believes": Target(run=beliefs, corpus=(LISTED, BROKEN)),
    "a render's identity": Target(
        run=identity, corpus=(Identity(server="af://s", name="n1", id=3).write().encode(),)
    ),
    "answers to questions": Target(run=answer, corpus=(LISTED,), allowed=(ProtocolError,)),
    "measurements": Target(
        run=meter, corpus=(json.dumps(METER).encode(), b"null"), allowed=(ProtocolError,)
    ),
}
