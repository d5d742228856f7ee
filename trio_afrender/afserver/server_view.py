"""What a server believes of a render: the question, its answer read leniently, what follows. Pure.

A lost answer leaves both sides with different ideas of what runs here. The server tells its idea
in JSON: under which id the name stands, when that render was launched, which tasks it runs.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Mapping
from typing import Any

import attrs

from trio_afrender.protocol.afanasy import Json
from trio_afrender.protocol.messages import TaskKey

__all__ = (
    "RegistrationStatus",
    "ServerView",
    "ask_by_id",
    "ask_by_name",
    "check_registration",
    "find",
    "make_action",
    "read_server_view",
)

_HEAD_END = '"tasks":['
_ONLINE = 1


@attrs.frozen(slots=True, kw_only=True)
class ServerView:
    """One render in the server's eyes."""

    id: int
    name: str
    online: bool
    time_launch: int = 0
    """As the render said it when it registered; 0 while it is offline."""
    tasks: Mapping[TaskKey, int] | None = None
    """What it runs: the start of each, in unix time. None: the server's list was unreadable."""


class RegistrationStatus(enum.Enum):
    """How a render stands with its server."""

    OURS = "online, and it is us"
    TAKEN = "online, and it need not be us"
    OFFLINE = "known and offline"
    UNKNOWN = "not known by that name"


def ask_by_id(number: int) -> Json:
    """The question for the render with an id."""
    return _ask({"ids": [number]})


def ask_by_name(name: str) -> Json:
    """The question for renders whose names contain this one."""
    return _ask({"mask": name})


def _ask(which: Mapping[str, Any]) -> Json:
    return Json(body=json.dumps({"get": {"type": "renders", **which}}).encode())


def make_action(number: int, params: Mapping[str, Any], *, user: str, host: str) -> Json:
    """The request to change settings of the render with an id."""
    action = {
        "user_name": user or "render",
        "host_name": host or "render",
        "type": "renders",
        "ids": [number],
        "params": params,
    }
    return Json(body=json.dumps({"action": action}).encode())


def read_server_view(answer: bytes) -> tuple[ServerView, ...] | None:
    """The renders in an answer; None when it is no list of renders at all.

    The server does not escape everything, so the name of one task may break its JSON. What stands
    before the tasks is then still read, for the first render.
    """
    text = answer.decode("utf-8", "replace")
    try:
        found = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return _read_head(text)
    renders = found.get("renders") if isinstance(found, dict) else None
    if not isinstance(renders, list):
        return None
    beliefs = (_read_render(each) for each in renders if isinstance(each, dict))
    return tuple(each for each in beliefs if each is not None)


def _read_head(text: str) -> tuple[ServerView, ...] | None:
    head, mark, _ = text.partition(_HEAD_END)
    start = head.find('"renders"')
    if not mark or start < 0:
        return None
    fields: dict[str, Any] = dict(
        re.findall(r'^"(id|st|time_launch)":(\d{1,18})\b', head, re.MULTILINE)
    )
    name = re.search(r'"name":"([^"]*)"', head[start:])
    fields = {key: int(value) for key, value in fields.items()}
    fields |= {"name": name[1] if name else "", "tasks": None}
    belief = _read_render(fields)
    return None if belief is None else (belief,)


def _read_render(fields: Mapping[str, Any]) -> ServerView | None:
    number, name, state = fields.get("id"), fields.get("name"), fields.get("st")
    launched = fields.get("time_launch", 0)
    if not (isinstance(number, int) and isinstance(name, str) and isinstance(state, int)):
        return None
    return ServerView(
        id=number,
        name=name,
        online=bool(state & _ONLINE),
        time_launch=launched if isinstance(launched, int) else 0,
        tasks=_read_tasks(fields.get("tasks", [])),
    )


def _read_tasks(listed: object) -> Mapping[TaskKey, int] | None:
    if not isinstance(listed, list):
        return None
    tasks: dict[TaskKey, int] = {}
    for each in listed:
        if not isinstance(each, dict):
            return None
        names = ("job_id", "block_num", "task_num", "time_start")
        numbers = [each.get(name) for name in names]
        found = [number for number in numbers if isinstance(number, int)]
        number = each.get("number", 0)
        if len(found) != len(names) or not isinstance(number, int):
            return None
        job, block, task, start = found
        tasks[TaskKey(job, block, task, number)] = start
    return tasks


def find(beliefs: tuple[ServerView, ...], name: str) -> ServerView | None:
    """The render of exactly that name."""
    return next((each for each in beliefs if each.name == name), None)


def check_registration(
    belief: ServerView | None, number: int, time_launch: int
) -> RegistrationStatus:
    """How the render stands that was `number` and registered as launched then.

    An id alone proves nothing: a server that lost its store gives it to somebody else, and one
    name may be used on two hosts. Name, id and time of launch together are only ours. `number` 0
    is for a register whose answer was never heard.
    """
    if belief is None:
        return RegistrationStatus.UNKNOWN
    if not belief.online:
        return RegistrationStatus.OFFLINE
    ours = number in (0, belief.id) and time_launch == belief.time_launch != 0
    return RegistrationStatus.OURS if ours else RegistrationStatus.TAKEN
