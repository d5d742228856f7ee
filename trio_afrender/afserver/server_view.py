"""The server's view of a render: make the JSON requests, parse the answers, compare. No I/O.

After a lost answer the server and the render may disagree about what runs here. The JSON API
returns the server's view: the id of the name, the launch time in its register, and its tasks.
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
    """One render in the server's list."""

    id: int
    name: str
    online: bool
    time_launch: int = 0
    """The launch time in the render's register, in Unix time; 0 while it is offline."""
    tasks: Mapping[TaskKey, int] | None = None
    """The tasks that it runs, each with its start in Unix time. None: the list was unreadable."""


class RegistrationStatus(enum.Enum):
    """The registration of this render's name on the server."""

    OURS = "online, and it is this render"
    TAKEN = "online, and it may be another render"
    OFFLINE = "known and offline"
    UNKNOWN = "no render of that name"


def ask_by_id(number: int) -> Json:
    """Return the request for the render with an id."""
    return _ask({"ids": [number]})


def ask_by_name(name: str) -> Json:
    """Return the request for all renders whose name contains `name`."""
    return _ask({"mask": name})


def _ask(which: Mapping[str, Any]) -> Json:
    return Json(body=json.dumps({"get": {"type": "renders", **which}}).encode())


def make_action(number: int, params: Mapping[str, Any], *, user: str, host: str) -> Json:
    """Return the request that changes settings of the render with an id."""
    action = {
        # The server refuses an action with an empty name in one of these two.
        "user_name": user or "render",
        "host_name": host or "render",
        "type": "renders",
        "ids": [number],
        "params": params,
    }
    return Json(body=json.dumps({"action": action}).encode())


def read_server_view(answer: bytes) -> tuple[ServerView, ...] | None:
    """Parse an answer; return None if it is no list of renders.

    If the JSON is broken within the tasks, only the first render is returned, without its tasks.
    """
    # The server writes texts into its JSON without escapes, so strings may contain control
    # characters (strict=False) and bytes that are not UTF-8.
    text = answer.decode("utf-8", "replace")
    try:
        found = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        # A quote in the name of a task breaks the whole answer. The fields before the tasks stand on
        # lines of their own, so regular expressions can still find them
        # (test_a_task_name_that_breaks_the_json_spoils_only_the_tasks).
        head, mark, _ = text.partition(_HEAD_END)
        start = head.find('"renders"')
        if not mark or start < 0:
            return None
        pairs = re.findall(r'^"(id|st|time_launch)":(\d{1,18})\b', head, re.MULTILINE)
        name = re.search(r'"name":"([^"]*)"', head[start:])
        fields = {"name": name[1] if name else "", "tasks": None}
        view = _read_render({**{key: int(value) for key, value in pairs}, **fields})
        return None if view is None else (view,)
    renders = found.get("renders") if isinstance(found, dict) else None
    if not isinstance(renders, list):
        return None
    views = (_read_render(each) for each in renders if isinstance(each, dict))
    return tuple(each for each in views if each is not None)


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
    """Parse a list of tasks; None if an entry is unreadable."""
    # One unreadable entry makes the whole list unknown: a task that is missing from a list counts
    # as withdrawn, and its process would be killed.
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


def find(views: tuple[ServerView, ...], name: str) -> ServerView | None:
    """Return the render whose name is exactly `name`."""
    return next((each for each in views if each.name == name), None)


def check_registration(
    view: ServerView | None, number: int, time_launch: int
) -> RegistrationStatus:
    """Compare the server's view of a name with this render's registration.

    `number` is the id, 0 if the answer to the register was lost.
    """
    if view is None:
        return RegistrationStatus.UNKNOWN
    if not view.online:
        return RegistrationStatus.OFFLINE
    # The id proves nothing alone: a server that lost its store gives it to another render. Nor does
    # the name: two hosts may use the same. With the launch time only this render matches.
    ours = number in (0, view.id) and time_launch == view.time_launch != 0
    return RegistrationStatus.OURS if ours else RegistrationStatus.TAKEN
