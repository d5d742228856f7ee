"""The terminal of `run` on a host that can start no thread for a while."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import pytest
import trio
from trio.testing import MockClock

from trio_afrender.cli import task_output
from trio_afrender.cli.job_progress import open_progress
from trio_afrender.cli.progress_display import QuietScreen
from trio_afrender.farm.store import MemoryFarmStore
from trio_afrender.jobs.job_file import parse_job
from trio_afrender.jobs.views import JobView, TaskView

SPEC = parse_job({"job": {"name": "j", "blocks": [{"name": "b", "tasks": [{"command": "true"}]}]}})

_T = TypeVar("_T")


class Threads:
    """Stands in for trio's threads: calls in line, or refuses as a host without any does."""

    def __init__(self) -> None:
        self.left = True

    async def run(self, call: Callable[..., _T], *args: object, **_: object) -> _T:
        await trio.lowlevel.checkpoint()
        if not self.left:
            raise RuntimeError("can't start new thread")
        return call(*args)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Threads:
    made = Threads()
    monkeypatch.setattr(trio.to_thread, "run_sync", made.run)
    return made


def make_task(state: str) -> TaskView:
    return TaskView(
        job=1,
        block=0,
        task=0,
        name="1",
        block_name="b",
        service="generic",
        state=state,
        attempt=1,
        texts=MemoryFarmStore(),
    )


class OneJob:
    """A source of one job that changes each second."""

    def __init__(self) -> None:
        self.tasks: tuple[TaskView, ...] = ()

    async def changed(self, seen: int) -> int:
        await trio.sleep(1)
        return seen + 1

    def view(self, job: int) -> JobView:
        return JobView(
            id=job, name="j", user_name="u", state="running", counts={}, tasks=self.tasks
        )

    def why_waiting(self, job: int) -> Sequence[str]:
        return ()


class CountingScreen(QuietScreen):
    def __init__(self) -> None:
        super().__init__()
        self.drawn = 0
        self.lines: list[str] = []

    def draw(self, job: JobView, waiting: str, outlook: str, now: float) -> None:
        self.drawn += 1

    def output(self, name: str, number: int, text: str) -> None:
        self.lines.append(text)

    def line(self, text: str, style: str = "") -> None:
        self.lines.append(text)


async def test_the_display_waits_for_a_thread(autojump_clock: MockClock, threads: Threads) -> None:
    screen = CountingScreen()
    async with open_progress(OneJob(), 1, screen, SPEC):
        await trio.sleep(5)
        shown = screen.drawn
        assert shown
        threads.left = False
        await trio.sleep(60)
        assert screen.drawn <= shown + 1
        threads.left = True
        await trio.sleep(60)
        assert screen.drawn > shown + 10


async def test_what_happened_last_is_shown_without_a_thread(
    autojump_clock: MockClock, threads: Threads
) -> None:
    """The job ends while its display waits for a thread."""
    source, screen = OneJob(), CountingScreen()
    screen.kinds = ("done",)

    async def free_thread() -> None:
        await trio.sleep(60)
        threads.left = True

    async with trio.open_nursery() as nursery:
        source.tasks = (make_task("running"),)
        async with open_progress(source, 1, screen, SPEC):
            await trio.sleep(5)
            source.tasks = (make_task("done"),)
            threads.left = False
            await trio.sleep(3)
            nursery.start_soon(free_thread)
    assert screen.lines == ["[1/1] b / 1: done"]


async def test_no_line_of_a_task_is_lost_without_a_thread(
    autojump_clock: MockClock, threads: Threads
) -> None:
    screen = CountingScreen()
    show = partial(task_output._print, screen, "b.1", 0)
    threads.left = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(show, ["one", "two"])
        await trio.sleep(60)
        assert screen.lines == []
        threads.left = True
    assert screen.lines == ["one", "two"]
