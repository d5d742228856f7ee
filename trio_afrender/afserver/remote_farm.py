"""A farm as its users see and steer it over the JSON interface: an afserver, or the embedded farm.

One facade with typed values. Each method is one request, or a few; nothing is kept between them,
so any number of commands can work on one farm. Errors are those of `ask_json`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import attrs
import trio

from trio_afrender.afserver.client import Dialer
from trio_afrender.afserver.http_file import fetch_file
from trio_afrender.afserver.json_api import ask_json, is_unknown_id
from trio_afrender.afserver.node_selection import TaskSelection
from trio_afrender.afserver.output_follower import (
    OutputPieces,
    is_error_text,
    read_output_events,
)
from trio_afrender.afserver.remote_nodes import (
    JobNode,
    PoolNode,
    RenderNode,
    TaskNode,
    UserNode,
    integer_of,
    objects_of,
    read_job,
    read_pool,
    read_render,
    read_tasks,
    read_user,
    text_of,
    texts_of,
)
from trio_afrender.afserver.wait_reasons import (
    FarmNodes,
    WaitReasons,
    explain_stuck,
    explain_waiting,
    read_wait_answers,
)
from trio_afrender.errors import AfRenderError, JobGone, LinkLost, LinkRefused, ProtocolError
from trio_afrender.text import printable

__all__ = ("EventMonitor", "RemoteFarm")

_POLL_INTERVAL = 1.0
"""Seconds between two polls of a monitor, which a server forgets after 16."""
_LISTEN_DELAY = 2.5
"""Seconds until a render that has been asked to send what a task prints does so, at most."""
_STORE_DELAY = 0.5
"""Seconds from the end of a task, as a server reports it, until its output is stored."""
_OUTPUT_TIMEOUT = 15.0
"""Seconds to wait for the output of a running task: its render is asked with its next heartbeat."""


@contextmanager
def _unknown_is_gone(job: int) -> Iterator[None]:
    """Raise `JobGone` if a server refuses the request of the body because it has no such job."""
    try:
        yield
    except LinkRefused as error:
        if not is_unknown_id(error):
            raise
        raise JobGone(job) from error


@attrs.frozen(slots=True)
class EventMonitor:
    """A registration for events. `id` is the server's."""

    id: int


@attrs.frozen(slots=True, kw_only=True)
class RemoteFarm:
    """A farm at the other end of `dialer`. `user_name` and `host_name` are written into its logs."""

    dialer: Dialer
    user_name: str
    host_name: str
    token: str = attrs.field(default="", repr=False)
    """Of the embedded farm; an afserver has none and must not get it."""

    @property
    def url(self) -> str:
        return self.dialer.address.url

    @property
    def jobs_at_once(self) -> int:
        """How many jobs a request should ask for that is one of many."""
        return 25

    async def ask(self, question: Mapping[str, Any]) -> dict[str, object]:
        """Send a request and return the answer. Raises as `ask_json` does."""
        beside = {"token": self.token} if self.token else {}
        return await ask_json(self.dialer, {**question, **beside})

    async def _get(self, kind: str, **asked: object) -> dict[str, object]:
        return await self.ask({"get": {"type": kind, **asked}})

    async def _list(self, kind: str, **asked: object) -> list[Mapping[str, Any]]:
        answer = await self._get(kind, **asked)
        if not isinstance(answer.get(kind), list):
            raise ProtocolError(f"{self.url}: answered with no list of {kind}")
        return objects_of(answer, kind)

    # Lists

    async def jobs(self, *, ids: Sequence[int] = (), full: bool = False) -> list[JobNode]:
        """List jobs, by default all; ids that are unknown are left out."""
        asked: dict[str, object] = {"ids": list(ids)} if ids else {}
        if full:
            asked["mode"] = "full"
        try:
            found = await self._list("jobs", **asked)
        except LinkRefused as error:
            if len(ids) != 1 or not is_unknown_id(error):
                raise
            found = []
        return [read_job(each) for each in found]

    async def list_ids(self, kind: str) -> list[int]:
        """List the ids of all ``jobs`` or ``renders``."""
        return [integer_of(each, "id") for each in await self._list(kind)]

    async def job(self, number: int) -> JobNode:
        """Return one job with the names of its tasks. Raises `JobGone`."""
        found = await self.jobs(ids=[number], full=True)
        if not found:
            raise JobGone(number)
        return found[0]

    async def tasks(self, job: JobNode) -> list[TaskNode]:
        """List the tasks of a job. Raises `JobGone`."""
        return read_tasks(job, await self.progress(job.id))

    async def selected_tasks(self, selected: Sequence[TaskSelection]) -> list[TaskNode]:
        """Return tasks of one job, each once, with their names. Raises `JobGone`."""
        job = await self.job(selected[0].job.id)
        whole = {each.block.number for each in selected if each.tasks is None}
        single = {(each.block.number, task) for each in selected for task in each.tasks or ()}
        return [
            task
            for task in await self.tasks(job)
            if task.block in whole or (task.block, task.task) in single
        ]

    async def progress(self, job: int) -> list[list[object]]:
        """Return the progress of all tasks of a job, a list for each block. Raises `JobGone`."""
        with _unknown_is_gone(job):
            answer = await self._get("jobs", ids=[job], mode="progress")
        found = answer.get("job_progress")
        progress = found.get("progress") if isinstance(found, dict) else None
        if not isinstance(progress, list):
            raise ProtocolError(f"{self.url}: answered with no progress of job {job}")
        return [each if isinstance(each, list) else [] for each in progress]

    async def task_names(self, job: JobNode) -> list[list[str]]:
        """Return the names of all tasks of a job, a list for each block. Raises `JobGone`."""
        whole = await self.job(job.id)
        return [[block.task_name(n) for n in range(block.tasks)] for block in whole.blocks]

    async def pools(self) -> dict[str, PoolNode]:
        """List the pools by name."""
        found = (read_pool(each) for each in await self._list("pools"))
        return {pool.name: pool for pool in found}

    async def renders(
        self, *, ids: Sequence[int] = (), pools: Mapping[str, PoolNode] | None = None
    ) -> list[RenderNode]:
        """List renders, by default all; `pools` are asked for unless given."""
        if pools is None:
            # Limits that a render inherits are not among its own fields.
            pools = await self.pools()
        asked: dict[str, object] = {"ids": list(ids)} if ids else {}
        return [read_render(each, pools) for each in await self._list("renders", **asked)]

    async def loads(self) -> dict[int, Mapping[str, Any]]:
        """Return the figures of each host by the id of its render; offline ones have none."""
        return {
            integer_of(each, "id"): each["host_resources"]
            for each in await self.load_answers()
            if isinstance(each.get("host_resources"), dict)
        }

    async def load_answers(self, ids: Sequence[int] = ()) -> list[Mapping[str, Any]]:
        """Return figures and percentages of running tasks of renders, by default of all."""
        asked: dict[str, object] = {"ids": list(ids)} if ids else {}
        return await self._list("renders", mode="resources", **asked)

    async def users(self) -> list[UserNode]:
        """List all users."""
        return [read_user(each) for each in await self._list("users")]

    # Texts

    async def node_log(self, kind: str, number: int) -> tuple[str, ...]:
        """Return the log of a node, ``jobs`` or ``renders`` or ``users`` or ``pools``."""
        return await self._lines(kind, number, "log")

    async def tasks_log(self, render: int) -> tuple[str, ...]:
        """Return which tasks a render has started and ended."""
        return await self._lines("renders", render, "tasks_log")

    async def _lines(self, kind: str, number: int, mode: str) -> tuple[str, ...]:
        message = (await self._get(kind, ids=[number], mode=mode)).get("message")
        return texts_of(message, "list") if isinstance(message, dict) else ()

    async def task_text(self, task: TaskNode, mode: str, *, run: int = 0) -> str:
        """Return the ``log``, the ``error_hosts`` or the stored ``output`` of a task.

        `run` is the number of an attempt from 1, 0: the last one. What a task has not printed is ''.
        """
        number = {"number": run} if run else {}
        text = await self._task_text(task, mode, **number)
        return "" if mode == "output" and is_error_text(text) else text

    async def _task_text(self, task: TaskNode, mode: str, **asked: object) -> str:
        return text_of(await self._task_answer(task, mode, "task", **asked), "data")

    async def _task_answer(
        self, task: TaskNode, mode: str, key: str, **asked: object
    ) -> Mapping[str, Any]:
        where = {"ids": [task.job], "block_ids": [task.block], "task_ids": [task.task]}
        found = (await self._get("jobs", **where, mode=mode, **asked)).get(key)
        return found if isinstance(found, dict) else {}

    async def ask_output(self, task: TaskNode, monitor: EventMonitor) -> str:
        """Ask for what a running task has printed; it comes as an event, or is returned at once."""
        text = await self._task_text(task, "output", mon_id=monitor.id)
        return "" if is_error_text(text) else text

    async def task_exec(self, task: TaskNode) -> Mapping[str, Any]:
        """Return what the render of a task is given: command, working folder and so on."""
        found = (await self._task_answer(task, "info", "task")).get("exec")
        return found if isinstance(found, dict) else {}

    async def task_files(self, task: TaskNode) -> tuple[str, ...]:
        """Return the paths of the files that a farm has stored of a task."""
        found = objects_of(await self._task_answer(task, "files", "task_files"), "files")
        return tuple(path for each in found if (path := text_of(each, "name")))

    async def read_file(self, path: str) -> bytes:
        """Return a file of a task by the path that `task_files` gives. Raises `LinkRefused`."""
        return await fetch_file(self.dialer, path, self.token)

    # Changes

    async def act(
        self,
        kind: str,
        ids: Sequence[int],
        *,
        params: Mapping[str, object] | None = None,
        operation: Mapping[str, object] | None = None,
        blocks: Sequence[int] | None = None,
    ) -> str:
        """Change nodes; return the sentence of the server. Raises `LinkRefused` with its refusal.

        `blocks` are numbers of blocks of one job. Of several nodes some may have changed in spite of
        a refusal, and an afserver calls a success what it has ignored: read the nodes back.
        """
        action: dict[str, object] = {
            "user_name": self.user_name or "user",
            "host_name": self.host_name or "host",
            "type": kind,
            "ids": list(ids),
        }
        if blocks is not None:
            action["block_ids"] = list(blocks)
        if params is not None:
            action["params"] = dict(params)
        if operation is not None:
            action["operation"] = dict(operation)
        info = (await self.ask({"action": action})).get("info")
        return printable(text_of(info, "text")) if isinstance(info, dict) else ""

    # Why

    async def why_waiting(self, job: JobNode) -> list[WaitReasons]:
        """Explain what the waiting tasks of each block wait for. Raises `JobGone`."""
        with _unknown_is_gone(job.id):
            return await self._explain_waiting(job)

    async def _explain_waiting(self, job: JobNode) -> list[WaitReasons]:
        answer = await self._get("jobs", ids=[job.id], mode="why")
        waits = answer.get("job_waits")
        if isinstance(waits, dict):
            answers = read_wait_answers(waits)
            return [*answers, *explain_stuck(job, {each.block for each in answers})]
        # An afserver does not know the mode and answers with the job.
        farm = FarmNodes(
            jobs=await self.jobs(),
            renders=await self.renders(),
            pools=await self.pools(),
            users={user.name: user for user in await self.users()},
            loads=await self.loads(),
            error_hosts=await self._lines("jobs", job.id, "error_hosts"),
        )
        return explain_waiting(job, await self.tasks(job), farm)

    # Monitors

    @asynccontextmanager
    async def open_monitor(self) -> AsyncIterator[EventMonitor]:
        """Register for events; leaving the context ends the registration."""
        request = {
            "user_name": self.user_name or "user",
            "host_name": self.host_name or "host",
            "engine": "trio_afrender",
        }
        monitor = (await self.ask({"monitor": request})).get("monitor")
        number = integer_of(monitor, "id") if isinstance(monitor, dict) else 0
        if number <= 0:
            raise ProtocolError(f"{self.url}: registered no monitor")
        try:
            yield EventMonitor(number)
        finally:
            # It has no answer, and a server forgets who does not poll. So a failure says nothing.
            with trio.CancelScope(shield=True), trio.move_on_after(2), suppress(AfRenderError):
                await self._operate_monitor(number, {"type": "deregister"})

    async def _operate_monitor(self, number: int, operation: Mapping[str, object]) -> None:
        await self.act("monitors", [number], operation=operation)

    async def watch(
        self, monitor: EventMonitor, kind: str, asked: Mapping[str, object], *, on: bool = True
    ) -> None:
        """Have a monitor get the events of a class of nodes, or no more; `asked` says which."""
        status = "subscribe" if on else "unsubscribe"
        operation = {"type": "watch", "class": kind, "status": status, **asked}
        await self._operate_monitor(monitor.id, operation)

    async def take_events(self, monitor: EventMonitor) -> Mapping[str, Any]:
        """Take the events of a monitor. Raises `LinkLost` if the server has forgotten it."""
        answer = await self._get("monitors", ids=[monitor.id], mode="events")
        if isinstance(answer.get("monitor"), dict):
            raise LinkLost(f"{self.url}: it has forgotten this program's registration")
        events = answer.get("events")
        return events if isinstance(events, dict) else {}

    async def running_output(self, task: TaskNode) -> str:
        """Return what a running task has printed so far; '' if its render does not answer."""
        async with self.open_monitor() as monitor:
            text = await self._task_text(task, "output", mon_id=monitor.id)
            if text and not is_error_text(text):
                return text  # it has just ended
            # The text comes as an event: the server asks the render for it with the next heartbeat.
            with trio.move_on_after(_OUTPUT_TIMEOUT):
                while True:
                    await trio.sleep(_POLL_INTERVAL / 4)
                    whole, _ = await self._poll(monitor, task)
                    if whole is not None:
                        return whole
        return ""

    async def follow_output(self, task: TaskNode, write: Callable[[str], None]) -> None:
        """Write the output of a task so far and as it is printed, until the task is over.

        A task that has not started is waited for, and after a retry the next attempt follows. Raises
        `JobGone`. Losses of the connection are waited out.
        """
        job = await self.job(task.job)
        shown, delay = 0, 0.0
        while True:
            task = await self._read_again(job, task)
            if task.running and task.starts > shown:
                await self._follow_run(job, task, write)
                shown = task.starts
            elif task.over:
                if task.starts > shown:
                    write(await self._read_stored(task, delay=delay))
                return
            else:
                await trio.sleep(_POLL_INTERVAL)
                delay = _STORE_DELAY

    async def _follow_run(self, job: JobNode, task: TaskNode, write: Callable[[str], None]) -> None:
        """Write the output of one run, until another one begins or the task does not run any more."""
        pieces = OutputPieces()
        now = task
        while now.is_in_run(task.starts):
            try:
                async with self.open_monitor() as monitor:
                    watched = {"job": task.job, "block": task.block, "task": task.task}
                    await self.watch(monitor, "listen", watched)
                    # Pieces come only of what is printed from now on. The rest is asked for after
                    # they have begun, so that nothing is missed between; `OutputPieces` drops what
                    # both have.
                    ask_at, asked = trio.current_time() + _LISTEN_DELAY, False
                    while now.is_in_run(task.starts):
                        await trio.sleep(_POLL_INTERVAL)
                        write(pieces.add(*await self._poll(monitor, task)))
                        due = trio.current_time() >= ask_at or (pieces.early and not asked)
                        if due and not pieces.begun:
                            await self._task_text(task, "output", mon_id=monitor.id)
                            ask_at, asked = trio.current_time() + _OUTPUT_TIMEOUT, True
                        now = await self._read_again(job, task)
            except LinkLost:
                # The server was away or has forgotten the monitor: what was printed meanwhile
                # does not come, so the whole output is needed again.
                pieces.restart()
                await trio.sleep(_POLL_INTERVAL)
                now = await self._read_again(job, task)
        final = await self._read_stored(task, run=task.starts, delay=_STORE_DELAY)
        write(pieces.finish(final))

    async def _read_stored(self, task: TaskNode, *, run: int = 0, delay: float) -> str:
        """Return the stored output of a task after a delay. A lost connection is waited out."""
        while True:
            await trio.sleep(delay)
            try:
                return await self.task_text(task, "output", run=run)
            except LinkLost:
                delay = _POLL_INTERVAL

    async def _poll(self, monitor: EventMonitor, task: TaskNode) -> tuple[str | None, str]:
        """Take the events of a monitor; return the whole output, if it came, and new pieces."""
        events = await self.take_events(monitor)
        return read_output_events(events, (task.job, task.block, task.task))

    async def _read_again(self, job: JobNode, task: TaskNode) -> TaskNode:
        """Return the task as it is now. Raises `JobGone`, also for another job with the same id."""
        while True:
            try:
                found = await self.jobs(ids=[job.id])
                # The id of a deleted job is used again.
                if not found or found[0].serial != job.serial:
                    raise JobGone(job.id)
                for each in await self.tasks(found[0]):
                    if (each.block, each.task) == (task.block, task.task):
                        return each
                raise JobGone(job.id)
            except LinkLost:
                await trio.sleep(_POLL_INTERVAL)
