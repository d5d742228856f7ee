"""The double's answers in JSON, with the one habit of the real server that a render has to fear:
what renders say of themselves, and names of tasks, stand in it as they are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from trio_afrender.testing.fake_afserver.fake_farm import FakeAfserverState
from trio_afrender.testing.fake_afserver.records import (
    NIMBY,
    NIMBY_OWNER,
    PAUSED,
    NativeRender,
    NativeTask,
)

__all__ = ("act", "answer_get", "reply")

_BITS = {"nimby": NIMBY_OWNER, "NIMBY": NIMBY, "paused": PAUSED}


def reply(kind: str, text: str) -> bytes:
    """A sentence of the server."""
    return json.dumps({"info": {"kind": kind, "text": text}}, separators=(",", ":")).encode()


def answer_get(book: FakeAfserverState, asked: Mapping[str, Any]) -> bytes:
    """The renders that were asked for."""
    if asked.get("type") != "renders":
        return reply("error", "the double knows renders only")
    found = book.find(asked.get("ids", ()), asked.get("mask", ""))
    text = '{"renders":[\n' + ",\n".join(_render(book, each) for each in found) + "\n]}"
    return text.encode("utf-8", "surrogateescape")


def act(book: FakeAfserverState, action: Mapping[str, Any]) -> bytes:
    """Change states of renders; without a user and a host nothing is done."""
    if not (action.get("user_name") and action.get("host_name")):
        return reply("error", "Action: no user or host name.")
    for render in book.find(action.get("ids", ()), action.get("mask", "")):
        for name, bit in _BITS.items():
            if name in action.get("params", {}):
                on = bool(action["params"][name])
                cleared = bit if name == "paused" else NIMBY | NIMBY_OWNER
                render.state = (render.state & ~cleared) | (bit if on else 0)
    return json.dumps({"info": {"kind": "info", "text": "1 changed"}}).encode()


def _render(book: FakeAfserverState, render: NativeRender) -> str:
    said = render.register
    tasks = [book.tasks[key] for key in render.tasks if key in book.tasks]
    lines = [
        f'"name":"{said.name}"',
        f'"id":{render.id}',
        f'"user_name":"{said.user_name}"',
        f'"time_launch":{render.time_launch}',
        f'"os":"{said.os}"',
        f'"engine":"{said.engine}"',
        f'"st":{render.state}',
        *([f'"tasks":[{_tasks(tasks)}]'] if tasks else []),
        f'"host_resources":{{"hw_info":"{said.resources.hw_info}"}}',
    ]
    return "{" + ",\n".join(lines) + "}"


def _tasks(tasks: Iterable[NativeTask]) -> str:
    return ",\n".join(
        f'{{"name":"{task.exec.name}","service":"{task.exec.service}",'
        f'"time_start":{task.exec.time_start},"job_id":{task.key.job},'
        f'"block_num":{task.key.block},"task_num":{task.key.task},'
        f'"act":"{task.activity}","res":"{task.resources}"}}'
        for task in tasks
    )
