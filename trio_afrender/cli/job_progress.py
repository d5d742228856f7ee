"""Follows a job and shows its progress on a `Screen`, in threads, since a terminal can block."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Protocol

import trio

from trio_afrender.cli.job_events import compare
from trio_afrender.cli.job_forecast import JobForecast
from trio_afrender.cli.progress_display import Screen
from trio_afrender.cli.summary import label, name_failure, seconds_text
from trio_afrender.jobs.job_spec import JobSpec
from trio_afrender.jobs.task_choice import TaskPlace, only_chosen
from trio_afrender.jobs.views import FINAL_STATES, JobView
from trio_afrender.tasklog.io_threads import call_in_thread, wait_out

__all__ = ("JobSource", "open_progress")

_SETTLE_DELAY = 0.1
"""Seconds between a change and its display: by then more changes have come and texts are on disk."""
_SHARE = 10
"""The pause after a refresh is at least ten times as long as the refresh took, for large jobs."""
_MAX_PAUSE = 5.0
"""Seconds of that pause at most: a terminal that blocked for a minute is shown the job again."""
_REDRAW_INTERVAL = 0.5
"""Seconds between two refreshes without a change, which show the elapsed time."""
_WAITING_NOTICE_AFTER = 2.0
"""Seconds without a running task until the reason is shown."""
_MAX_FAILURES_SHOWN = 20
"""Failures shown when they happen; the summary counts the others."""
# Two threads: one can block on the terminal, and `close` still gets the other.
_terminal = trio.CapacityLimiter(2)


class JobSource(Protocol):
    """A source of views of a job: the embedded farm, or a client of an afserver."""

    async def changed(self, seen: int) -> int:
        """Wait for a change since `seen` (0 at first); return the value for the next call."""
        ...

    def view(self, job: int) -> JobView: ...

    def why_waiting(self, job: int) -> Sequence[str]:
        """Return the reasons why no task of a job runs, as sentences."""
        ...


@asynccontextmanager
async def open_progress(
    farm: JobSource,
    job: int,
    screen: Screen,
    spec: JobSpec,
    chosen: Collection[TaskPlace] | None = None,
) -> AsyncIterator[None]:
    """Show a job on `screen` while the body runs, and once more when it ends.

    Of a job of which tasks were `chosen`, these alone are shown.
    """
    follower = _Follower(farm, job, screen, spec, chosen)
    screen.open()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follower.run)
            yield
            nursery.cancel_scope.cancel()
        await follower.refresh()
    finally:
        with trio.CancelScope(shield=True), trio.move_on_after(2):
            with suppress(OSError):  # the host has no thread left
                await call_in_thread(screen.close, abandon=True, limiter=_terminal)


class _Follower:
    def __init__(
        self,
        farm: JobSource,
        job: int,
        screen: Screen,
        spec: JobSpec,
        chosen: Collection[TaskPlace] | None,
    ) -> None:
        self._farm = farm
        self._job = job
        self._screen = screen
        self._chosen = chosen
        self._forecast = JobForecast(spec)
        self._before: JobView | None = None
        self._idle_since = trio.current_time()
        self._failures_shown = 0
        self._pause = _SETTLE_DELAY

    async def run(self) -> None:
        seen = 0
        while True:
            with trio.move_on_after(_REDRAW_INTERVAL):
                seen = await self._farm.changed(seen)
            await self.refresh()

    async def refresh(self) -> None:
        """Show the changes since the last refresh. A terminal that blocks delays only this."""
        now = trio.current_time()
        view = only_chosen(self._farm.view(self._job), self._chosen)
        if view.state != "running" or any(task.state == "running" for task in view.tasks):
            self._idle_since = now
        waiting = ""
        if now - self._idle_since >= _WAITING_NOTICE_AFTER:
            waiting = "; ".join(self._farm.why_waiting(self._job)[:2])
        outlook = ""
        if self._screen.kinds:
            wall = time.time()
            outlook = self._forecast.update(view, wall).text(wall)
        cost = trio.current_time() - now
        await trio.sleep(self._pause)
        now = trio.current_time()
        show = partial(self._show, view, waiting, outlook, now)
        call = partial(call_in_thread, show, abandon=True, limiter=_terminal)
        await wait_out("the display of the job", call)
        pause = _SHARE * (cost + trio.current_time() - now)
        self._pause = min(max(_SETTLE_DELAY, pause), _MAX_PAUSE)

    def _show(self, view: JobView, waiting: str, outlook: str, now: float) -> None:
        # Only here: a refresh that is cancelled while it waits for a thread has shown nothing.
        before, self._before = self._before, view
        # Counted on from one event to the next, since several tasks may have ended since the last look.
        ended = sum(task.state in FINAL_STATES for task in before.tasks) if before else 0
        kinds = self._screen.kinds
        for event in compare(before, view):
            task = event.task
            ended += event.kind == "ended"
            failed = event.kind == "retried" or task.state == "error"
            if event.kind == "ended" and not failed and "done" in kinds:
                took = ""
                if task.started is not None and task.finished is not None:
                    took = f" in {seconds_text(task.finished - task.started)}"
                self._screen.line(
                    f"[{ended}/{len(view.tasks)}] {label(task)}: {task.outcome}{took}"
                )
            if failed and "failed" in kinds and self._failures_shown < _MAX_FAILURES_SHOWN:
                self._failures_shown += 1
                first, *rest = name_failure(task)
                again = ", trying again" if event.kind == "retried" else ""
                self._screen.line(first + again, "yellow" if again else "bold red")
                for line in rest:
                    self._screen.line(line, "dim")
                if self._failures_shown == _MAX_FAILURES_SHOWN:
                    self._screen.line("(further failures are only counted)")
        self._screen.draw(view, waiting, outlook, now)
