"""Requests that change something: parameters and operations of jobs, renders, users, the pool.

The rules stand in `job_edits`, `users`, `render_edits`: here nodes are found, each is tried, and
one answer is made of the replies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import trio

from trio_afrender.errors import EditRefused
from trio_afrender.farm.farm import Farm
from trio_afrender.farm.job_edits import edit_blocks, edit_job, operate_blocks, operate_job
from trio_afrender.farm.json_interface.answers import Answer, info
from trio_afrender.farm.json_interface.asker import Asker
from trio_afrender.farm.json_interface.json_monitors import ROOT, JsonMonitor, MonitorRegistry
from trio_afrender.farm.json_interface.monitor_actions import MonitorActions
from trio_afrender.farm.json_interface.name_masks import MaskError, by_beginnings, by_pattern
from trio_afrender.farm.json_interface.request_body import numbers_at, object_at, text_at
from trio_afrender.farm.model import Job, RenderState, User
from trio_afrender.farm.node_log import Actor
from trio_afrender.farm.render_edits import edit_pool, edit_render, operate_render
from trio_afrender.farm.state import FarmState
from trio_afrender.farm.user_edits import edit_user, operate_user
from trio_afrender.text import show_json, suggest

__all__ = ("ActionRequests",)

_TYPES = ("jobs", "renders", "users", "pools", "branches", "monitors")
_MAX_SENTENCES = 5
"""Refusals of several nodes that one answer repeats."""
_DONE = "Action processed."
_OF_ALL_RENDERS = {
    "eject_tasks": "eject_tasks",
    "exit": "exit",
    "launch_cmd": "launch_cmd",
    "heal_sick": "heal_sick",
    "delete_renders": "delete",
}
"""Operations of the pool -> what each of its renders is asked."""

_T = TypeVar("_T")
Params = dict[str, object]
Node = Job | RenderState | User | JsonMonitor | FarmState
"""What a request is about; the state stands for the only pool and for the only branch."""
Outcome = Mapping[str, object] | str | None


class ActionRequests:
    """Answers the requests that change something."""

    def __init__(self, farm: Farm, registry: MonitorRegistry, nursery: trio.Nursery) -> None:
        self._state = farm.state
        self._registry = registry
        self._monitors = MonitorActions(farm, registry, nursery)

    def answer(self, asked: Answer, asker: Asker) -> Answer | None:
        """Do what is asked. None for an action without an answer. The caller dispatches."""
        actor = asker.act_as(asked)
        kind = text_at(asked, "type")
        for key, value in (("user_name", actor.user_name), ("host_name", actor.host_name)):
            if not value:
                return info("error", f'Action should have a not empty "{key}" string.')
        if kind not in _TYPES:
            near = suggest(kind, _TYPES)
            return info("error", f"Action has unknown type: {show_json(asked.get('type'))}{near}")
        for key in ("params", "operation"):
            if key in asked and not isinstance(asked[key], dict):
                return info("error", f'Action "{key}" should be an object.')
        params, operation = object_at(asked, "params"), object_at(asked, "operation")
        if params is None and operation is None:
            text = 'Action should have an "operation" or(and) "params" object.'
            return info("error", text)
        if operation is not None and not text_at(operation, "type"):
            text = 'Action "operation" "type" should be a string that is not empty.'
            return info("error", text)
        try:
            nodes = self._find_nodes(kind, asked)
            monitors = [node for node in nodes if isinstance(node, JsonMonitor)]
            if monitors:
                return self._monitors.answer(monitors, operation or {}, actor)
        except (EditRefused, MaskError) as error:
            return info("error", str(error))
        if kind == "branches":
            return info("error", "this farm has one branch, which cannot be changed")
        return _try_all(nodes, partial(self._change, asked, params, operation, actor))

    def _change(
        self,
        asked: Answer,
        params: Params | None,
        operation: Params | None,
        actor: Actor,
        node: Node,
    ) -> Outcome:
        """Set the parameters of a node, then apply the operation. Raises `EditRefused`."""
        state, now = self._state, trio.current_time()
        edit: Callable[[Params, Actor, float], None]
        operate: Callable[[Params, Actor, float], Outcome]
        match node:
            case Job():
                blocks = _find_blocks(node, asked)
                if blocks is None:
                    edit = partial(edit_job, state, node)
                    operate = partial(operate_job, state, node)
                else:
                    edit = partial(edit_blocks, state, node, blocks)
                    operate = partial(operate_blocks, state, node, blocks)
            case RenderState():
                edit = partial(edit_render, state, node)
                operate = partial(operate_render, state, node)
            case User():
                edit, operate = partial(edit_user, state, node), partial(operate_user, state, node)
            case _:
                edit, operate = partial(edit_pool, state), partial(_operate_pool, state)
        if params is not None:
            edit(params, actor, now)
        return operate(operation, actor, now) if operation is not None else None

    def _find_nodes(self, kind: str, asked: Answer) -> list[Node]:
        """The nodes that a request selects. Raises `EditRefused` and `MaskError`."""
        state = self._state
        nodes: dict[int, tuple[str, Node]]  # by id, with their names
        match kind:
            case "jobs":
                nodes = {job.id: (job.spec.name, job) for job in state.jobs.values()}
            case "renders":
                nodes = {render.id: (render.name, render) for render in state.renders.values()}
            case "users":
                nodes = {user.id: (user.name, user) for user in state.users.values()}
            case "monitors":
                nodes = {each.id: (each.name, each) for each in self._registry.monitors.values()}
            case _:
                nodes = {ROOT: ("/", state)}
        if ids := numbers_at(asked, "ids"):
            for each in ids:
                if each not in nodes:
                    raise EditRefused(f"Action node ID not found: {each}.")
            return [nodes[each][1] for each in dict.fromkeys(ids)]
        mask = text_at(asked, "mask")
        if not mask:
            raise EditRefused("JSON action should have nodes ids or mask to operate with.")
        wanted = by_pattern(mask)
        found = [node for name, node in nodes.values() if wanted(name)]
        if not found:
            near = suggest(mask, [name for name, _ in nodes.values()])
            raise EditRefused(f"{kind}: No node matches {show_json(mask)} found{near}.")
        return found


def _operate_pool(state: FarmState, operation: Params, actor: Actor, now: float) -> None:
    """Ask all renders for what an operation of the pool is. Raises `EditRefused`."""
    kind = text_at(operation, "type")
    if kind not in _OF_ALL_RENDERS:
        known = tuple(_OF_ALL_RENDERS)
        text = f"the pool has no operation {show_json(kind)}{suggest(kind, known)}"
        raise EditRefused(f"{text}; it has {', '.join(known)}")
    asked = {**operation, "type": _OF_ALL_RENDERS[kind]}
    # A list: a render may be deleted.
    renders = [
        render for render in state.renders.values() if kind != "delete_renders" or not render.online
    ]
    answer = _try_all(renders, lambda render: operate_render(state, render, asked, actor, now))
    sentence = object_at(answer, "info")
    if sentence is not None and sentence["kind"] == "error":
        raise EditRefused(str(sentence["text"]))


def _find_blocks(job: Job, asked: Answer) -> list[int] | None:
    """The blocks that a request selects; None if it is about the job. Raises `EditRefused`."""
    if "block_ids" in asked:
        blocks = numbers_at(asked, "block_ids")
        if blocks == [-1]:
            return list(range(len(job.blocks)))
        for number in blocks:
            if not 0 <= number < len(job.blocks):
                last = len(job.blocks) - 1
                raise EditRefused(
                    f'Invalid block number: {number}: job "{job.spec.name}" has 0 to {last}'
                )
    elif "block_mask" in asked:
        wanted = by_beginnings(text_at(asked, "block_mask"))
        blocks = [i for i, block in enumerate(job.blocks) if wanted(block.spec.name)]
    else:
        return None
    if not blocks:
        raise EditRefused(
            f'"block_ids" or "block_mask" selects no block of job "{job.spec.name}": the mask is a'
            " list of words with which names begin"
        )
    return blocks


def _try_all(nodes: Sequence[_T], do: Callable[[_T], Outcome]) -> Answer:
    """Do something with each node, also behind one that refuses it; make the answer."""
    reply: Mapping[str, object] | str = ""
    refusals = []
    for node in nodes:
        try:
            reply = do(node) or reply
        except EditRefused as error:
            refusals.append(str(error))
    if refusals:
        text = "; ".join(dict.fromkeys(refusals[:_MAX_SENTENCES]))
        if len(nodes) > 1:
            text += f" ({len(refusals)} of {len(nodes)} refused)"
        return info("error", text)
    if isinstance(reply, str):
        return info("log", reply or _DONE)
    return {"object": dict(reply)}
