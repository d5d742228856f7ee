"""Follow a job on an afserver by polling its JSON API, until nothing more happens to it.

The server pushes changes to registered monitors only. Polling needs no registration, and one
request a second is as often as the server changes the state of a task.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import attrs
import trio

from trio_afrender.afserver.job_view import RemoteTexts, make_view
from trio_afrender.afserver.output_follower import is_error_text
from trio_afrender.afserver.remote_farm import RemoteFarm
from trio_afrender.async_helpers import RepeatedEvent
from trio_afrender.errors import JobGone, LinkLost, LinkRefused, ProtocolError
from trio_afrender.jobs.job_spec import JobSpec
from trio_afrender.jobs.views import FINAL_STATES, JobView, TaskView

__all__ = ("RemoteJob",)

_POLL_INTERVAL = 1.0
"""Seconds between two polls; the server's own cycle is as long."""
_IDLE_INTERVAL = 6.0
"""Seconds without a running task before the reason is requested, and between two such requests. From
one task to the next a server needs two or three."""
_WRITE_DELAY = 0.5
"""Seconds before texts of ended tasks are fetched."""
_MAX_TEXTS = 40
"""Failed attempts whose output is fetched, more than are displayed."""


@attrs.define(eq=False)
class RemoteJob:
    """A submitted job, with the interface of a farm that `cli.job_progress` displays.

    `serial` tells it from a later job with the same number: the server reuses numbers.
    """

    farm: RemoteFarm
    spec: JobSpec
    number: int
    serial: int
    texts: RemoteTexts = attrs.field(factory=RemoteTexts)
    _view: JobView | None = None
    _waiting: tuple[str, ...] = ()
    _reasons: tuple[str, ...] = ()
    """What the server has answered last; `_waiting` may be why it does not answer."""
    _count: int = 1
    _change: RepeatedEvent = attrs.field(factory=RepeatedEvent)
    _idle_since: float = attrs.field(factory=trio.current_time)
    _renders_asked: float = attrs.field(factory=trio.current_time)

    async def changed(self, seen: int) -> int:
        """Wait for a newer view than number `seen`; return the number of the latest."""
        while self._count == seen:
            await self._change.wait()
        await trio.lowlevel.checkpoint()
        return self._count

    def view(self, _job: int) -> JobView:
        """Return the latest view of the job; before the first answer, the job as submitted."""
        if self._view is None:
            tasks = [[{"st": 1}] * block.task_count for block in self.spec.blocks]
            self._view = make_view(self.spec, self.number, {}, tasks, self.texts)
        return self._view

    def why_waiting(self, _job: int) -> tuple[str, ...]:
        """Return the reasons why nothing runs, empty while something does."""
        return self._waiting

    async def follow(self) -> JobView:
        """Poll until the job is over, and return its last view. Raises `JobGone`, and `LinkRefused`
        if the server refuses a request.

        While the server does not answer, polling continues.
        """
        while True:
            try:
                view = await self._poll()
            except (LinkLost, ProtocolError) as error:
                self._publish(self._view, (str(error),))
            else:
                if view.state != "running":
                    return view
            await trio.sleep(_POLL_INTERVAL)

    async def fetch_texts(self, tasks: Iterable[TaskView]) -> None:
        """Fetch log and output of tasks; a text that the server does not have stays empty."""
        # The server reports the end of a task before it has written the output that came with it.
        await trio.sleep(_WRITE_DELAY)
        for task in tasks:
            for mode, texts in (("output", self.texts.outputs), ("log", self.texts.logs)):
                where: dict[str, object] = {
                    "ids": [self.number],
                    "block_ids": [task.block],
                    "task_ids": [task.task],
                }
                runs = int(task.run or 0)
                if mode == "output" and runs:
                    # A task that runs again has no output yet, so its previous run's is fetched.
                    where["number"] = max(1, runs - (task.state == "running"))
                text = ""
                with suppress(LinkLost, LinkRefused, ProtocolError):
                    answer = await self.farm.ask({"get": {"type": "jobs", **where, "mode": mode}})
                    found = answer.get("task")
                    text = str(found.get("data", "")) if isinstance(found, dict) else ""
                    # The server writes no file for a task that printed nothing, and answers with
                    # an error text as the output.
                    text = "" if is_error_text(text) else text
                texts[task.key] = text

    async def _poll(self) -> JobView:
        # Two requests: a job that waits for other jobs shows that in its blocks alone, while the
        # progress lists its tasks as ready.
        found = await self.farm.jobs(ids=[self.number])
        job = next((each for each in found if each.serial == self.serial), None)
        if job is None:
            raise JobGone(self.number)
        progress = await self.farm.progress(self.number)
        view = make_view(self.spec, self.number, job.fields, progress, self.texts)
        # Before the view is published: the display prints the output of a failure together with it.
        before = {task.key: task for task in self.view(self.number).tasks}
        failed = [t for t in view.tasks if _failures(t) > _failures(before.get(t.key))]
        if shown := failed[: max(0, _MAX_TEXTS - len(self.texts.outputs))]:
            await self.fetch_texts(shown)
        reasons: tuple[str, ...] = ()
        now = trio.current_time()
        if "OFF" in job.states:
            reasons = (f"job {self.number} is paused on the server",)
        elif view.state != "running" or any(task.state == "running" for task in view.tasks):
            self._idle_since = self._renders_asked = now
        elif now - self._renders_asked >= _IDLE_INTERVAL:
            waits = await self.farm.why_waiting(job)
            self._renders_asked = now
            reasons = tuple(dict.fromkeys(text for each in waits for text in each.sentences))
            self._reasons = reasons
        elif self._renders_asked > self._idle_since:
            reasons = self._reasons  # the server is asked at most every `_IDLE_INTERVAL`
        self._publish(view, reasons)
        return view

    def _publish(self, view: JobView | None, waiting: tuple[str, ...]) -> None:
        self._view, self._waiting = view, waiting
        self._count += 1
        self._change.set()


def _failures(task: TaskView | None) -> int:
    """Return how many attempts of a task have failed."""
    if task is None:
        return 0
    return task.attempts - (
        task.state == "running" or (task.state in FINAL_STATES and task.state != "error")
    )
