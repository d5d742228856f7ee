"""Requests that change something: parameters and operations of jobs, renders, users, the pool.

The rules stand in `job_edits`, `users`, `render_edits`: here nodes are found, each is tried, and
one answer is made of the replies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import trio

from trio_afrender.errors import EditRefused
from trio_afrender.farm.farm import Farm
from trio_afrender.farm.job_edits import edit_blocks, edit_job, operate_blocks, operate_job
from trio_afrender.farm.json_interface.answers import Answer, info
from trio_afrender.farm.json_interface.asker import Asker
from trio_afrender.farm.json_interface.json_monitors import ROOT, MonitorRegistry
from trio_afrender.farm.json_interface.monitor_actions import MonitorActions
from trio_afrender.farm.json_interface.name_masks import MaskError, by_beginnings, by_pattern
from trio_afrender.farm.json_interface.request_body import numbers_at, object_at, text_at
from trio_afrender.farm.model import Job
from trio_afrender.farm.node_log import Actor
from trio_afrender.farm.render_edits import edit_pool, edit_render, operate_render
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

Params = dict[str, object]
Outcome = Mapping[str, object] | str


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
        try:
            params, operation = _read_orders(asked)
            nodes = self._find_nodes(kind, asked)
            if kind == "monitors":
                monitors = [self._registry.monitors[each] for each in nodes]
                return self._monitors.answer(monitors, operation or {}, actor)
            do = self._make_method(kind, asked, params, operation, actor)
        except (EditRefused, MaskError) as error:
            return info("error", str(error))
        return _try_all(nodes, do)

    def _make_method(
        self,
        kind: str,
        asked: Answer,
        params: Params | None,
        operation: Params | None,
        actor: Actor,
    ) -> Callable[[int], Outcome]:
        """What is to be done with each node. Raises `EditRefused`."""
        state, now = self._state, trio.current_time()
        if kind == "renders":
            renders = {render.id: render for render in state.renders.values()}

            def change_render(node: int) -> Outcome:
                reply: Outcome = ""
                if params is not None:
                    edit_render(state, renders[node], params, actor, now)
                if operation is not None:
                    reply = operate_render(state, renders[node], operation, actor, now)
                return reply

            return change_render
        if kind == "users":

            def change_user(node: int) -> Outcome:
                user = state.user_by_id(node)
                if params is not None:
                    edit_user(state, user, params, actor, now)
                if operation is not None:
                    operate_user(state, user, operation, actor, now)
                return ""

            return change_user
        if kind == "pools":
            return partial(self._change_pool, params, operation, actor)
        if kind == "branches":
            raise EditRefused("this farm has one branch, which cannot be changed")
        return partial(self._change_job, asked, params, operation, actor)

    def _change_job(
        self,
        asked: Answer,
        params: Params | None,
        operation: Params | None,
        actor: Actor,
        node: int,
    ) -> Outcome:
        state, now = self._state, trio.current_time()
        job = state.jobs[node]
        blocks = _find_blocks(job, asked)
        reply: Outcome = ""
        if params is not None:
            if blocks is None:
                edit_job(state, job, params, actor, now)
            else:
                edit_blocks(state, job, blocks, params, actor, now)
        if operation is not None:
            if blocks is None:
                reply = operate_job(state, job, operation, actor, now)
            else:
                reply = operate_blocks(state, job, blocks, operation, actor, now)
        return reply

    def _change_pool(
        self, params: Params | None, operation: Params | None, actor: Actor, node: int
    ) -> Outcome:
        state, now = self._state, trio.current_time()
        if params is not None:
            edit_pool(state, params, actor, now)
        if operation is None:
            return ""
        kind = text_at(operation, "type")
        if kind not in _OF_ALL_RENDERS:
            known = tuple(_OF_ALL_RENDERS)
            text = f"the pool has no operation {show_json(kind)}{suggest(kind, known)}"
            raise EditRefused(f"{text}; it has {', '.join(known)}")
        asked = {**operation, "type": _OF_ALL_RENDERS[kind]}
        # Copies: a render may be deleted.
        renders = {render.id: render for render in state.renders.values()}
        if kind == "delete_renders":
            renders = {each: render for each, render in renders.items() if not render.online}

        def operate(each: int) -> Outcome:
            return operate_render(state, renders[each], asked, actor, now)

        answer = _try_all(list(renders), operate)
        sentence = object_at(answer, "info")
        if sentence is not None and sentence["kind"] == "error":
            raise EditRefused(str(sentence["text"]))
        return ""

    def _find_nodes(self, kind: str, asked: Answer) -> list[int]:
        """The ids of the nodes that a request selects. Raises `EditRefused` and `MaskError`."""
        state = self._state
        match kind:
            case "jobs":
                names = {job.id: job.spec.name for job in state.jobs.values()}
            case "renders":
                names = {render.id: render.name for render in state.renders.values()}
            case "users":
                names = {user.id: user.name for user in state.users.values()}
            case "monitors":
                names = {each.id: each.name for each in self._registry.monitors.values()}
            case _:
                names = {ROOT: "/"}
        if ids := numbers_at(asked, "ids"):
            for each in ids:
                if each not in names:
                    raise EditRefused(f"Action node ID not found: {each}.")
            return list(dict.fromkeys(ids))
        mask = text_at(asked, "mask")
        if not mask:
            raise EditRefused("JSON action should have nodes ids or mask to operate with.")
        wanted = by_pattern(mask)
        found = [each for each, name in names.items() if wanted(name)]
        if not found:
            near = suggest(mask, names.values())
            raise EditRefused(f"{kind}: No node matches {show_json(mask)} found{near}.")
        return found


def _read_orders(asked: Answer) -> tuple[Params | None, Params | None]:
    """The params and the operation of a request. Raises `EditRefused`."""
    for key in ("params", "operation"):
        if key in asked and not isinstance(asked[key], dict):
            raise EditRefused(f'Action "{key}" should be an object.')
    params, operation = object_at(asked, "params"), object_at(asked, "operation")
    if params is None and operation is None:
        raise EditRefused('Action should have an "operation" or(and) "params" object.')
    if operation is not None and not text_at(operation, "type"):
        raise EditRefused('Action "operation" "type" should be a string that is not empty.')
    return params, operation


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


def _try_all(nodes: list[int], do: Callable[[int], Outcome]) -> Answer:
    """Do something with each node, also behind one that refuses it; make the answer."""
    reply: Outcome = ""
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
