"""Responses of an Afanasy server, up to the session messages made from them; values of meters."""

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
from trio_afrender.plugins.meters.values import load_measurement
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
LISTING = json.dumps({"renders": [RENDER]}).encode()
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
    """Responses to a register and to updates; the events made from them can be encoded."""
    message = afanasy.decode(data)
    if not isinstance(message, afanasy.RenderEvents):
        return
    resolve(message, Timing())
    for listed in (True, False):
        runs = _runs()
        encode(runs.registered(message, listed=listed).registered)
        for _ in range(2):
            result = runs.apply_update_answer(message)
            if result.events is not None:
                encode(result.events)
        assert len({task.run for task in runs.tasks}) == len(runs.tasks)


def server_view(data: bytes) -> None:
    found = read_server_view(data)
    if found is not None:
        view = find(found, "n1")
        check_registration(view, 3, 1000)
        if view is not None:
            encode(_runs().continue_runs(view).registered)


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
        return  # the target for plugin messages has these
    load_measurement({"shown": value, "raised": False})


def _vectors() -> tuple[bytes, ...]:
    vectors = json.loads((DATA / "afanasy_vectors.json").read_text())
    return tuple(bytes.fromhex(v["hex"]) for v in vectors if v["direction"] == "server->render")


TARGETS = {
    "native events in a session": Target(run=events, corpus=_vectors(), allowed=(ProtocolError,)),
    "a server's list of renders": Target(run=server_view, corpus=(LISTING, BROKEN)),
    "a render's identity": Target(
        run=identity, corpus=(Identity(server="af://s", name="n1", id=3).write().encode(),)
    ),
    "responses to queries": Target(run=answer, corpus=(LISTING,), allowed=(ProtocolError,)),
    "measurements": Target(
        run=meter, corpus=(json.dumps(METER).encode(), b"null"), allowed=(ProtocolError,)
    ),
}
