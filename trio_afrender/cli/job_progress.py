"""Follows a job of a farm and tells what happens; the terminal may stand still meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import trio

from trio_afrender.cli.job_events import JobEvent, compare
from trio_afrender.cli.screens import Screen
from trio_afrender.cli.summary import label, name_failure, seconds_text, state_text
from trio_afrender.jobs.views import FINAL_STATES, JobView, TaskView

__all__ = ("JobSource", "open_progress")

_SETTLE_DELAY = 0.1
"""Between a change and the look at it: many changes are one, and texts are on disk by then."""
_SHARE = 10
"""A look that takes t is followed by a pause of at least so many t: large jobs are seen less often."""
_REDRAW_INTERVAL = 0.5
"""A running clock is drawn so often even if nothing changes."""
_WAITING_NOTICE_AFTER = 2.0
"""So long nothing may run before we say why."""
_MAX_FAILURES_SHOWN = 20
"""Failures told as they happen; the summary counts the rest."""
_terminal = trio.CapacityLimiter(2)


class JobSource(Protocol):
    """What has jobs: the embedded farm, or what a server tells."""

    async def changed(self, seen: int) -> int:
        """Wait until something is new since `seen` (0 at first); return what to give next."""
        ...

    def view(self, job: int) -> JobView: ...

    def why_waiting(self, job: int) -> Sequence[str]:
        """Sentences on why nothing of a job runs."""
        ...


@asynccontextmanager
async def open_progress(farm: JobSource, job: int, screen: Screen) -> AsyncIterator[None]:
    """Tell about a job on `screen` until the body ends, which has a last look told."""
    follower = _Follower(farm, job, screen)
    screen.open()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follower.run)
            yield
            nursery.cancel_scope.cancel()
        await follower.look()
    finally:
        with trio.CancelScope(shield=True), trio.move_on_after(2):
            await trio.to_thread.run_sync(screen.close, abandon_on_cancel=True, limiter=_terminal)


class _Follower:
    def __init__(self, farm: JobSource, job: int, screen: Screen) -> None:
        self._farm = farm
        self._job = job
        self._screen = screen
        self._before: JobView | None = None
        self._idle_since = trio.current_time()
        self._told = 0
        self._pause = _SETTLE_DELAY

    async def run(self) -> None:
        seen = 0
        while True:
            with trio.move_on_after(_REDRAW_INTERVAL):
                seen = await self._farm.changed(seen)
            await self.look()

    async def look(self) -> None:
        """See what is new and tell it. A terminal that stands still stops nothing else."""
        now = trio.current_time()
        view = self._farm.view(self._job)
        waiting = self._why_waiting(view, now)
        cost = trio.current_time() - now
        await trio.sleep(self._pause)
        before, self._before, now = self._before, view, trio.current_time()
        await trio.to_thread.run_sync(
            self._tell, before, view, waiting, now, abandon_on_cancel=True, limiter=_terminal
        )
        self._pause = max(_SETTLE_DELAY, _SHARE * (cost + trio.current_time() - now))

    def _why_waiting(self, view: JobView, now: float) -> str:
        if view.state != "running" or any(task.state == "running" for task in view.tasks):
            self._idle_since = now
        if now - self._idle_since < _WAITING_NOTICE_AFTER:
            return ""
        return "; ".join(self._farm.why_waiting(self._job)[:2])

    def _tell(self, before: JobView | None, view: JobView, waiting: str, now: float) -> None:
        over = sum(task.state in FINAL_STATES for task in view.tasks)
        for news in compare(before, view):
            for line in self._lines(news, f"[{over}/{len(view.tasks)}]"):
                self._screen.line(line)
        self._screen.draw(view, waiting, now)

    def _lines(self, news: JobEvent, count: str) -> Iterator[str]:
        task = news.task
        failed = news.kind == "retried" or task.state == "error"
        if news.kind == "over" and not failed and "done" in self._screen.kinds:
            yield f"{count} {label(task)}: {state_text(task)}{_time(task)}"
        if failed and "failed" in self._screen.kinds and self._told < _MAX_FAILURES_SHOWN:
            self._told += 1
            first, *rest = name_failure(task)
            yield first + (", trying again" if news.kind == "retried" else "")
            yield from rest
            if self._told == _MAX_FAILURES_SHOWN:
                yield "(further failures are only counted)"


def _time(task: TaskView) -> str:
    if task.started is None or task.finished is None:
        return ""
    return f" in {seconds_text(task.finished - task.started)}"
