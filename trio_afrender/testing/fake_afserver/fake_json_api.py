"""Answers of the fake server in JSON.

Like the real server it puts texts of renders, and names of tasks, into the JSON without escaping.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from trio_afrender.testing.fake_afserver.fake_farm import FakeAfserverState
from trio_afrender.testing.fake_afserver.records import NIMBY, NIMBY_OWNER, PAUSED

__all__ = ("act", "answer_get", "reply")

_BITS = {"nimby": NIMBY_OWNER, "NIMBY": NIMBY, "paused": PAUSED}


def reply(kind: str, text: str) -> bytes:
    """An answer that consists of a sentence."""
    return json.dumps({"info": {"kind": kind, "text": text}}, separators=(",", ":")).encode()


def answer_get(state: FakeAfserverState, asked: Mapping[str, Any]) -> bytes:
    """Answer a request for renders."""
    if asked.get("type") != "renders":
        return reply("error", "the fake server has only renders")
    renders = []
    for render in state.find(asked.get("ids", ()), asked.get("mask", "")):
        register = render.register
        tasks = ",\n".join(
            f'{{"name":"{task.exec.name}","service":"{task.exec.service}",'
            f'"time_start":{task.exec.time_start},"job_id":{task.key.job},'
            f'"block_num":{task.key.block},"task_num":{task.key.task},'
            f'"act":"{task.activity}","res":"{task.resources}"}}'
            for task in (state.tasks[key] for key in render.tasks if key in state.tasks)
        )
        lines = [
            f'"name":"{register.name}"',
            f'"id":{render.id}',
            f'"user_name":"{register.user_name}"',
            f'"time_launch":{render.time_launch}',
            f'"os":"{register.os}"',
            f'"engine":"{register.engine}"',
            f'"st":{render.state}',
            *([f'"tasks":[{tasks}]'] if tasks else []),
            f'"host_resources":{{"hw_info":"{register.resources.hw_info}"}}',
        ]
        renders.append("{" + ",\n".join(lines) + "}")
    text = '{"renders":[\n' + ",\n".join(renders) + "\n]}"
    return text.encode("utf-8", "surrogateescape")


def act(state: FakeAfserverState, action: Mapping[str, Any]) -> bytes:
    """Change states of renders. Refused without a user and a host."""
    if not (action.get("user_name") and action.get("host_name")):
        return reply("error", "Action: no user or host name.")
    for render in state.find(action.get("ids", ()), action.get("mask", "")):
        for name, bit in _BITS.items():
            if name in action.get("params", {}):
                on = bool(action["params"][name])
                cleared = bit if name == "paused" else NIMBY | NIMBY_OWNER
                render.state = (render.state & ~cleared) | (bit if on else 0)
    return json.dumps({"info": {"kind": "info", "text": "1 changed"}}).encode()
