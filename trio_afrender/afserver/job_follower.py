"""Follows a job on an afserver by asking, until nothing more happens to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import attrs
import trio

from trio_afrender.afserver.client import Dialer
from trio_afrender.afserver.job_view import RemoteTexts, is_paused, make_view, questions
from trio_afrender.afserver.json_api import ask_json
from trio_afrender.errors import AfRenderError, LinkLost, LinkRefused, ProtocolError
from trio_afrender.jobs.job_spec import JobSpec
from trio_afrender.jobs.views import FINAL_STATES, JobView, TaskView

__all__ = ("JobGone", "RemoteJob")

_POLL_INTERVAL = 1.0
"""Seconds between two questions: the server's own cycle."""
_IDLE_INTERVAL = 6.0
"""Seconds without a running task before renders are asked for, and between two such questions: a
server needs two or three from one task to the next."""
_WRITE_DELAY = 0.5
_NO_FILE = "ERROR: Can't get file"
_MAX_TEXTS = 40
"""Failed attempts whose output is fetched: more than are told."""


class JobGone(AfRenderError):
    """The job has been deleted while it was followed."""

    def __init__(self, number: int) -> None:
        super().__init__(f"job {number} is not on the server any more: it was deleted")


@attrs.define(eq=False)
class RemoteJob:
    """A job that was sent to a server. What `cli.progress` follows, as it follows a farm.

    `serial` tells it from a later job that got the same number.
    """

    dialer: Dialer
    spec: JobSpec
    number: int
    serial: int
    texts: RemoteTexts = attrs.field(factory=RemoteTexts)
    _view: JobView | None = None
    _waiting: tuple[str, ...] = ()
    _count: int = 1
    _change: trio.Event = attrs.field(factory=trio.Event)
    _idle_since: float = attrs.field(factory=trio.current_time)
    _asked: float = attrs.field(factory=trio.current_time)

    async def changed(self, seen: int) -> int:
        """Wait until something is new since `seen`; return what to give next."""
        while self._count == seen:
            await self._change.wait()
        await trio.lowlevel.checkpoint()
        return self._count

    def view(self, _job: int) -> JobView:
        """The job as last heard of; at first as it was sent."""
        if self._view is None:
            tasks = [[{"st": 1}] * block.task_count for block in self.spec.blocks]
            self._view = make_view(self.spec, self.number, {}, tasks, self.texts)
        return self._view

    def why_waiting(self, _job: int) -> tuple[str, ...]:
        return self._waiting

    async def follow(self) -> JobView:
        """Ask until the job is over. A server that is away is waited for.

        Raises `JobGone` when it has been deleted.
        """
        while True:
            try:
                view = await self._look()
            except LinkRefused as error:
                raise JobGone(self.number) from error
            except (LinkLost, ProtocolError) as error:
                self._publish(self._view, (str(error),))
            else:
                if view.state != "running":
                    return view
            await trio.sleep(_POLL_INTERVAL)

    async def fetch_texts(self, tasks: Iterable[TaskView]) -> None:
        """Fetch log and output of tasks; what the server does not have stays empty."""
        # The server tells the end of a task before it has written down what came with it.
        await trio.sleep(_WRITE_DELAY)
        for task in tasks:
            for mode, kept in (("output", self.texts.outputs), ("log", self.texts.logs)):
                kept[task.key] = await self._text(task, mode)

    async def _look(self) -> JobView:
        ask = partial(ask_json, self.dialer)
        in_short, progress = questions(self.number)
        job = self._find((await ask(in_short)).get("jobs"))
        said = (await ask(progress)).get("job_progress")
        tasks = said.get("progress") if isinstance(said, dict) else None
        if not isinstance(tasks, list):
            raise ProtocolError(f"{self.dialer.address.url}: no progress of job {self.number}")
        view = make_view(self.spec, self.number, job, tasks, self.texts)
        if failed := self._just_failed(view):
            await self.fetch_texts(failed)
        self._publish(view, await self._reasons(job, view))
        return view

    def _find(self, jobs: object) -> Mapping[str, Any]:
        for job in jobs if isinstance(jobs, list) else ():
            if isinstance(job, dict) and job.get("serial") == self.serial:
                return job
        raise JobGone(self.number)

    def _just_failed(self, view: JobView) -> list[TaskView]:
        before = {task.key: task for task in self.view(self.number).tasks}
        failed = [t for t in view.tasks if _failures(t) > _failures(before.get(t.key))]
        return failed[: max(0, _MAX_TEXTS - len(self.texts.outputs))]

    async def _reasons(self, job: Mapping[str, Any], view: JobView) -> tuple[str, ...]:
        """Why nothing runs. Renders are asked for now and then only."""
        if is_paused(job):
            return (f"job {self.number} is paused on the server",)
        now = trio.current_time()
        if view.state != "running" or any(task.state == "running" for task in view.tasks):
            self._idle_since = self._asked = now
            return ()
        if now - self._asked < _IDLE_INTERVAL:
            return self._waiting if self._asked > self._idle_since else ()
        self._asked = now
        found = (await ask_json(self.dialer, {"get": {"type": "renders"}})).get("renders")
        renders = (
            [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
        )
        return (_name_renders(renders),)

    async def _text(self, task: TaskView, mode: str) -> str:
        where: dict[str, object] = {
            "ids": [self.number],
            "block_ids": [task.block],
            "task_ids": [task.task],
        }
        runs = int(task.run or 0)
        if mode == "output" and runs:
            # Of a task that runs again, the output of the run before.
            where["number"] = max(1, runs - (task.state == "running"))
        try:
            answer = await ask_json(self.dialer, {"get": {"type": "jobs", **where, "mode": mode}})
        except (LinkLost, LinkRefused, ProtocolError):
            return ""
        return _read_text(answer)

    def _publish(self, view: JobView | None, waiting: tuple[str, ...]) -> None:
        self._view, self._waiting = view, waiting
        self._count += 1
        self._change.set()
        self._change = trio.Event()


def _failures(task: TaskView | None) -> int:
    if task is None:
        return 0
    return task.attempts - (
        task.state == "running" or (task.state in FINAL_STATES and task.state != "error")
    )


def _name_renders(renders: list[dict[str, Any]]) -> str:
    online = [each for each in renders if int(each.get("st", 0)) & 1]
    if not online:
        return "no render is online"
    return f"none of {len(online)} renders takes it: busy, or by services, masks, nimby, capacity"


def _read_text(answer: Mapping[str, Any]) -> str:
    task = answer.get("task")
    text = str(task.get("data", "")) if isinstance(task, dict) else ""
    return "" if text.startswith(_NO_FILE) else text  # of a task that printed nothing
