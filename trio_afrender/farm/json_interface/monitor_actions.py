"""Operations of monitors: what they watch, messages, the end."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from trio_afrender.errors import EditRefused
from trio_afrender.farm.farm import Farm
from trio_afrender.farm.json_interface.answers import Answer, info
from trio_afrender.farm.json_interface.json_monitors import (
    MAX_LISTENS,
    NODE_CLASSES,
    JsonMonitor,
    MonitorRegistry,
)
from trio_afrender.farm.json_interface.request_body import numbers_at, text_at
from trio_afrender.farm.node_log import Actor, describe_action
from trio_afrender.protocol.messages import TaskKey
from trio_afrender.text import show_json, suggest

__all__ = ("MonitorActions",)

_CLASSES = (*NODE_CLASSES, "perm", "tasks", "listen")
_OPERATIONS = ("watch", "message", "exit", "deregister")
_MAX_MESSAGE = 10_000
_MAX_WATCHED = 10_000
"""Jobs whose tasks one monitor watches."""


class MonitorActions:
    """Does what requests ask of monitors. `nursery` runs what listens for them."""

    def __init__(self, farm: Farm, registry: MonitorRegistry, nursery: trio.Nursery) -> None:
        self._farm = farm
        self._state = farm.state
        self._registry = registry
        self._nursery = nursery

    def answer(
        self, monitors: Sequence[JsonMonitor], operation: dict[str, object], actor: Actor
    ) -> Answer | None:
        """Do an operation; None if it has no answer. Raises `EditRefused`."""
        kind = text_at(operation, "type")
        if kind == "deregister":
            for monitor in monitors:
                self._registry.drop(monitor)
            return None
        reply = ""
        for monitor in monitors:
            what = kind
            match kind:
                case "watch":
                    status = text_at(operation, "status")
                    reply = self._watch(monitor, operation, status)
                    what = f"watch {status}".rstrip()
                case "message":
                    text = text_at(operation, "text")
                    if not 0 < len(text) <= _MAX_MESSAGE:
                        raise EditRefused(
                            f'"text" should be a text of 1 to {_MAX_MESSAGE} characters.'
                        )
                    monitor.add_message(f"{text}\n - {actor}")
                    reply = "Message sent."
                case "exit":
                    monitor.waiting.instruction = "exit"
                    reply = "Instruction 'exit' set."
                case _:
                    near = suggest(kind, _OPERATIONS)
                    raise EditRefused(f"Unknown operation {show_json(kind)}{near}.")
            now = self._state.wall()
            monitor.time_activity = now
            monitor.node_log.add(now, describe_action(actor, "monitors", what, monitor.name, reply))
        return info("log", reply)

    def _watch(self, monitor: JsonMonitor, operation: dict[str, object], status: str) -> str:
        kind = text_at(operation, "class")
        if kind not in _CLASSES:
            near = suggest(kind, _CLASSES)
            raise EditRefused(f"Unknown operation 'watch' class {show_json(kind)}{near}.")
        # What has changed until now is not what is watched from now on.
        self._registry.distribute()
        if kind == "perm":  # CGRU's browser page gives no status
            uid = operation.get("uid")
            if not isinstance(uid, int) or isinstance(uid, bool):
                raise EditRefused('"uid" should be the id of a user, or 0 for all.')
            monitor.uid = uid
            return "Permissions set."
        if status not in ("subscribe", "unsubscribe"):
            raise EditRefused('"status" should be "subscribe" or "unsubscribe".')
        on = status == "subscribe"
        if kind == "listen":
            self._listen(monitor, operation, on=on)
        elif kind == "tasks":
            self._watch_tasks(monitor, operation, on=on)
        elif on:
            monitor.classes.add(kind)
        else:
            monitor.classes.discard(kind)
        return f"Subscribed on '{kind}'" if on else f"Unsubscribed from '{kind}'"

    def _watch_tasks(self, monitor: JsonMonitor, operation: dict[str, object], *, on: bool) -> None:
        jobs = numbers_at(operation, "ids")
        if not jobs:
            raise EditRefused('"ids" should be a list of ids of jobs.')
        if not on:
            monitor.task_jobs.difference_update(jobs)
            return
        for job in jobs:
            if job not in self._state.jobs:
                raise EditRefused(f"there is no job {job} to watch")
        monitor.task_jobs.update(jobs)
        # Ids of jobs that are gone, as long as there are many.
        if len(monitor.task_jobs) > _MAX_WATCHED:
            monitor.task_jobs.intersection_update(self._state.jobs)

    def _listen(self, monitor: JsonMonitor, operation: dict[str, object], *, on: bool) -> None:
        numbers = numbers_at({"at": [operation.get(k) for k in ("job", "block", "task")]}, "at")
        if len(numbers) != 3:
            raise EditRefused('"job", "block" and "task" should be numbers.')
        key = TaskKey(numbers[0], numbers[1], numbers[2], 0)
        if not on:
            if scope := monitor.listens.pop(key, None):
                scope.cancel()
            return
        try:
            self._state.find_task(key)
        except KeyError:
            raise EditRefused(f"there is no task {tuple(key[:3])} to listen to") from None
        if key in monitor.listens:
            return
        if len(monitor.listens) >= MAX_LISTENS:
            raise EditRefused(f"a monitor listens to at most {MAX_LISTENS} tasks")
        scope = monitor.listens[key] = trio.CancelScope()
        self._nursery.start_soon(self._forward, monitor, key, scope)

    async def _forward(self, monitor: JsonMonitor, key: TaskKey, scope: trio.CancelScope) -> None:
        """Hand new output of a task to a monitor, until the task is over or `scope` is cancelled."""
        with scope:
            try:
                async with self._farm.listen(key) as pieces:
                    async for text in pieces:
                        monitor.add_listened(key, text)
            except KeyError:
                pass  # the job has just been deleted
        if monitor.listens.get(key) is scope:
            del monitor.listens[key]
