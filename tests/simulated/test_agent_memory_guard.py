"""A host that runs short of memory, in virtual time."""

from __future__ import annotations

from collections.abc import Collection

import attrs
import pytest
import trio
from support.agent import CONFIG, Stage, expect_task, keep_reading, make_task, open_stage
from trio.testing import MockClock

from trio_afrender.config import MemoryGuard
from trio_afrender.hostinfo.memory import MemoryHeadroom
from trio_afrender.hostinfo.process_usage import ProcessUsage
from trio_afrender.process.interfaces import TreeSignal
from trio_afrender.protocol.messages import Events, RunRef, TaskStatus, Update
from trio_afrender.testing import FakeChild, MemoryHost, ScriptedLink
from trio_afrender.testing.memory_host import FakeUsageReader

MIB = 1024**2
GUARDED = attrs.evolve(CONFIG, memory_guard=MemoryGuard(floor=256 * MIB, room=512 * MIB))


def set_available(stage: Stage, available: int) -> None:
    stage.host.headroom = MemoryHeadroom(available=available * MIB, total=64 * 1024 * MIB)


async def take_two(stage: Stage) -> tuple[ScriptedLink, FakeChild, FakeChild]:
    link = await stage.server.accept()
    await link.welcome()
    await link.send(Events(tasks=(make_task("r1", 1), make_task("r2", 2))))
    children = {}
    for _ in range(2):
        child = await stage.host.spawn.next()
        children[child.launch.argv[-1]] = child
        stage.host.gauge.use(child.pid, memory=100 * MIB)
    return link, children["render 1"], children["render 2"]


async def state_of(link: ScriptedLink) -> int:
    """Return the next state that the agent sends."""
    update = await link.expect(Update, lambda u: u.state is not None)
    assert update.state is not None
    return update.state


async def test_the_task_that_grew_is_given_back_and_no_task_starts_until_memory_is_free(
    autojump_clock: MockClock,
) -> None:
    async with open_stage(GUARDED) as stage:
        link, quiet, greedy = await take_two(stage)
        await expect_task(link)
        async with keep_reading(link):
            await trio.sleep(6)
        stage.host.gauge.use(greedy.pid, memory=900 * MIB)
        set_available(stage, 200)
        await greedy.signalled()
        update = await link.expect(Update, lambda u: any(t.status.terminal for t in u.tasks))
        [outcome] = [task for task in update.tasks if task.status.terminal]
        assert (outcome.run, outcome.status) == ("r2", TaskStatus.GiveBack)
        [asked] = [step.text for step in outcome.why if step.event == "asked"]
        assert "memory_guard.floor is 256 MiB; of 2 running tasks this one grew most" in asked
        assert "from 100 MiB to 900 MiB" in asked
        set_available(stage, 300)
        await link.send(Events(tasks=(make_task("r3", 3),)))
        refused = await expect_task(link, over=True, run="r3")
        assert refused.status is TaskStatus.GiveBack
        assert "no new tasks until it is 512 MiB" in refused.why[0].text
        set_available(stage, 600)
        assert await state_of(link) == 1
        await link.send(Events(tasks=(make_task("r4", 4),)))
        assert (await stage.host.spawn.next()).launch.argv[-1] == "render 4"
        assert quiet.signals == []


async def test_the_server_gets_the_state_nimby_while_memory_is_short(
    autojump_clock: MockClock,
) -> None:
    async with open_stage(GUARDED) as stage:
        link, _, _ = await take_two(stage)
        set_available(stage, 1)
        assert await state_of(link) == 1 | 4 | 256
        set_available(stage, 5000)
        assert await state_of(link) == 1


async def test_give_backs_for_lack_of_memory_are_not_counted(
    autojump_clock: MockClock,
) -> None:
    async with open_stage(GUARDED) as stage:
        link = await stage.server.accept()
        await link.welcome()
        set_available(stage, 1)
        await link.expect(Update, lambda u: u.state == 261)
        for number in range(4):
            run = f"r{number}"
            await link.send(Events(tasks=(make_task(run),)))
            assert (await expect_task(link, over=True, run=run)).status is TaskStatus.GiveBack
            ref = RunRef(run=run, job=2, block=0, task=0)
            await link.send(Events(closes=(ref,)))


async def test_a_stopping_task_is_killed_below_half_the_floor(
    autojump_clock: MockClock,
) -> None:
    host = MemoryHost()
    host.spawn.dies_of = frozenset({TreeSignal.KILL})
    async with open_stage(GUARDED, host=host) as stage:
        link, _, greedy = await take_two(stage)
        await expect_task(link)
        stage.host.gauge.use(greedy.pid, memory=900 * MIB)
        set_available(stage, 200)
        await greedy.signalled()
        set_available(stage, 100)
        await greedy.signalled(TreeSignal.KILL)
        (term, _), (kill, _) = greedy.signals
        assert kill - term < 1


async def test_a_task_is_an_error_once_it_was_given_back_twice(autojump_clock: MockClock) -> None:
    async with open_stage(GUARDED) as stage:
        link = await stage.server.accept()
        await link.welcome()
        statuses = []
        for number in range(3):
            run = f"r{number}"
            await link.send(Events(tasks=(make_task(run),)))
            child = await stage.host.spawn.next()
            stage.host.gauge.use(child.pid, memory=900 * MIB)
            set_available(stage, 200)
            statuses.append((await expect_task(link, over=True, run=run)).status)
            set_available(stage, 9000)
            await link.send(Events(closes=(RunRef(run=run, job=2, block=0, task=0),)))
            if number < 2:
                await link.expect(Update, lambda u: u.state == 1)
        assert statuses == [TaskStatus.GiveBack, TaskStatus.GiveBack, TaskStatus.FinishedError]


async def test_without_a_floor_memory_is_not_guarded(autojump_clock: MockClock) -> None:
    config = attrs.evolve(CONFIG, memory_guard=MemoryGuard(floor=0))
    async with open_stage(config) as stage:
        link, first, second = await take_two(stage)
        set_available(stage, 0)
        async with keep_reading(link):
            await trio.sleep(60)
        assert (first.signals, second.signals) == ([], [])


async def test_memory_that_was_freed_during_the_measurement_costs_no_task(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that swaps takes long to read the figures of its processes."""
    read = FakeUsageReader.read
    async with open_stage(GUARDED) as stage:
        link, quiet, greedy = await take_two(stage)

        async def read_slowly(
            gauge: FakeUsageReader, pids: Collection[int]
        ) -> tuple[ProcessUsage, ...]:
            found = await read(gauge, pids)
            await trio.sleep(10)
            set_available(stage, 5000)
            return found

        monkeypatch.setattr(FakeUsageReader, "read", read_slowly)
        set_available(stage, 200)
        async with keep_reading(link):
            await trio.sleep(60)
        assert (quiet.signals, greedy.signals) == ([], [])
