"""The reasons of a task that failed while its host was short of memory, in virtual time."""

from __future__ import annotations

import errno

import attrs
import pytest
import trio
from support.agent import CONFIG, Stage, begin, expect_task, keep_reading, open_stage
from trio.testing import MockClock

from trio_afrender.config import MemoryGuard
from trio_afrender.hostinfo.memory import MAX_AGE, MemoryHeadroom, RecentHeadroom
from trio_afrender.hostinfo.process_usage import ProcessUsage
from trio_afrender.protocol.messages import Events, RunRef, TaskUpdate, Update
from trio_afrender.task.monitors.memory_shortage import is_short, memory_table
from trio_afrender.testing import FakeChild, ScriptedLink

GIB = 1024**3
PLENTY = MemoryHeadroom(available=20 * GIB, total=24 * GIB)
SHORT = MemoryHeadroom(available=GIB // 2, total=24 * GIB)
UNGUARDED = attrs.evolve(CONFIG, memory_guard=MemoryGuard(floor=0))


def test_the_table_marks_the_processes_of_the_task() -> None:
    largest = [
        ProcessUsage(pid=7, started=1, parent=1, name="blender", resident=10 * GIB),
        ProcessUsage(pid=12345, started=1, parent=1, name="a b", resident=GIB // 2),
    ]
    assert memory_table(largest, {7}).splitlines() == [
        "      pid     memory  program",
        "        7   10.0 GiB  blender  (this task)",
        "    12345    512 MiB  a b",
    ]


@pytest.mark.parametrize(("available", "short"), [(0, True), (4, True), (5, False), (100, False)])
def test_short_is_a_twentieth(available: int, short: bool) -> None:
    assert is_short(MemoryHeadroom(available=available, total=100)) is short


async def test_a_reading_is_shared_for_a_moment(autojump_clock: MockClock) -> None:
    readings = [MemoryHeadroom(available=each, total=100) for each in range(5)]
    headroom = RecentHeadroom(iter(readings).__next__)
    assert [headroom.recent().available for _ in range(3)] == [0, 0, 0]
    assert headroom.read().available == 1, "who must know what is now reads it"
    assert headroom.recent().available == 1
    await trio.sleep(MAX_AGE * 1.1)
    assert [headroom.recent().available for _ in range(2)] == [2, 2]


def use(stage: Stage, child: FakeChild) -> None:
    stage.host.gauge.use(child.pid, memory=18 * GIB)
    stage.host.gauge.use(4711, memory=3 * GIB)


async def end_of(link: ScriptedLink) -> tuple[TaskUpdate, str]:
    """Return the outcome and the text of its log."""
    log = ""
    while True:
        update = await link.expect(Update)
        log += "".join(entry.text for entry in update.log)
        for task in update.tasks:
            if task.status.terminal:
                return task, log


def memory_reasons(outcome: TaskUpdate) -> list[str]:
    return [step.text for step in outcome.why if step.event == "memory"]


async def test_the_table_is_of_the_time_when_memory_was_short(autojump_clock: MockClock) -> None:
    async with open_stage(UNGUARDED) as stage:
        stage.host.headroom = PLENTY
        link, child = await begin(stage)
        use(stage, child)
        async with keep_reading(link):
            await trio.sleep(6)
            stage.host.headroom = SHORT
            await trio.sleep(5)
            stage.host.headroom = PLENTY  # the memory of a failed task is free again
            del stage.host.gauge.usage[4711]
            await trio.sleep(2)
        child.exit(1)
        outcome, log = await end_of(link)
        assert memory_reasons(outcome) == [
            "the host was short of memory: 512 MiB of 24.0 GiB available"
        ]
        assert f"{child.pid:>9}   18.0 GiB" in log
        assert "(this task)" in log
        assert "4711    3.0 GiB" in log


async def test_a_kill_by_the_kernel_is_a_sign_of_shortage_too(autojump_clock: MockClock) -> None:
    async with open_stage(UNGUARDED) as stage:
        stage.host.headroom = attrs.evolve(PLENTY, oom_kills=5)
        link, child = await begin(stage)
        use(stage, child)
        async with keep_reading(link):
            await trio.sleep(6)
        stage.host.headroom = attrs.evolve(PLENTY, oom_kills=6)
        child.exit(signal=9)
        outcome, log = await end_of(link)
        [text] = memory_reasons(outcome)
        assert text == (
            "the kernel killed a process for lack of memory once since the task started;"
            " 20.0 GiB of 24.0 GiB available afterwards"
        )
        assert "18.0 GiB" in log


@pytest.mark.parametrize("how", ["success", "stopped", "long ago", "never short"])
async def test_otherwise_memory_is_no_reason(how: str, autojump_clock: MockClock) -> None:
    async with open_stage(UNGUARDED) as stage:
        stage.host.headroom = PLENTY if how == "never short" else SHORT
        link, child = await begin(stage)
        use(stage, child)
        async with keep_reading(link):
            await trio.sleep(6)
            if how == "long ago":
                stage.host.headroom = PLENTY
                await trio.sleep(60)
        if how == "stopped":
            await link.send(Events(stops=(RunRef(run="r1", job=2, block=0, task=0),)))
        else:
            child.exit(0 if how == "success" else 1)
        outcome, log = await end_of(link)
        assert memory_reasons(outcome) == []
        assert "program" not in log


async def test_a_task_that_fails_at_once_is_explained_by_the_present(
    autojump_clock: MockClock,
) -> None:
    async with open_stage(UNGUARDED) as stage:
        stage.host.headroom = SHORT
        link, child = await begin(stage)
        use(stage, child)
        child.exit(1)
        assert memory_reasons(await expect_task(link, over=True)) != []


async def test_a_reading_that_the_kernel_refuses_stops_nothing(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The one before it counts; what is worth a retry is raised."""
    readings: list[MemoryHeadroom | OSError] = [
        OSError(errno.EIO, "Input/output error"),
        OSError(errno.EIO, "Input/output error"),
        MemoryHeadroom(available=1, total=100),
        OSError(errno.EIO, "Input/output error"),
        OSError(errno.EMFILE, "Too many open files"),
    ]

    def read() -> MemoryHeadroom:
        found = readings.pop(0)
        if isinstance(found, OSError):
            raise found
        return found

    headroom = RecentHeadroom(read)
    assert not (found := headroom.read()).known
    assert not is_short(found)
    assert not is_short(headroom.recent()), "the failed one is shared as well"
    assert len(readings) == 4
    assert not is_short(headroom.read())
    assert is_short(headroom.read())
    assert is_short(headroom.read()), "the reading before it"
    with pytest.raises(OSError, match="Too many"):
        headroom.read()
    assert caplog.text.count("cannot read the host's memory: [Errno 5]") == 2
