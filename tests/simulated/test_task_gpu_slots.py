"""Tasks that share the GPUs of their host, in virtual time."""

from __future__ import annotations

import attrs
import trio
from support.agent import CONFIG, Stage, expect_task, keep_reading, make_task, open_stage
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_afrender.config import GpuSlots
from trio_afrender.protocol.messages import Events, GpuCard, HostResources, RunRef, TaskStatus
from trio_afrender.testing import FakeChild, MemoryHost

ALONE = attrs.evolve(CONFIG, gpu=GpuSlots(tasks_per_card=1))
TWO = HostResources(gpus=(GpuCard(index=0, name="A"), GpuCard(index=1, name="B")))


def gpus_of(child: FakeChild) -> str | None:
    return child.launch.environment.get("CUDA_VISIBLE_DEVICES")


def stop(run: str, task: int) -> Events:
    return Events(stops=(RunRef(run=run, job=2, block=0, task=task),))


def host_with(resources: HostResources) -> MemoryHost:
    return MemoryHost(resources=lambda: resources)


async def test_each_task_has_a_gpu_of_its_own_and_the_third_waits(
    autojump_clock: MockClock,
) -> None:
    async with open_stage(ALONE, host=host_with(TWO)) as stage:
        link = await stage.server.accept()
        register = await link.welcome()
        assert register.max_tasks == 2, "no more tasks than GPUs"
        await link.send(Events(tasks=tuple(make_task(f"r{n}", n) for n in range(3))))
        first, second = await stage.host.spawn.next(), await stage.host.spawn.next()
        assert sorted([gpus_of(first) or "", gpus_of(second) or ""]) == ["0", "1"]
        waiting = await wait_until_one_waits(stage)
        assert waiting == "waits for a GPU: all are in use"
        await wait_all_tasks_blocked()
        assert len(stage.host.spawn.children) == 2
        freed = gpus_of(second)
        second.exit(0)
        third = await stage.host.spawn.next()
        assert gpus_of(third) == freed
        third.exit(0)
        outcome = await expect_task(link, over=True, run=run_of(third))
        assert f"has GPU {freed}" in [step.text for step in outcome.why]


def run_of(child: FakeChild) -> str:
    return f"r{child.launch.environment['AF_TASK_ID']}"


async def wait_until_one_waits(stage: Stage) -> str:
    with trio.fail_after(10):
        while True:
            for view in stage.agent.running:
                if "waits" in view.activity:
                    return view.activity
            await trio.sleep(0.1)


async def test_a_stop_ends_the_wait(autojump_clock: MockClock) -> None:
    one = attrs.evolve(TWO, gpus=TWO.gpus[:1])
    async with open_stage(ALONE, host=host_with(one)) as stage:
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(tasks=(make_task("r0", 0),)))
        child = await stage.host.spawn.next()
        await link.send(Events(tasks=(make_task("r1", 1),)))
        await wait_until_one_waits(stage)
        await link.send(stop("r1", 1))
        outcome = await expect_task(link, over=True, run="r1")
        assert outcome.status is TaskStatus.FinishedKilled
        assert outcome.started is None
        child.exit(0)
        await expect_task(link, over=True, run="r0")
        await link.send(Events(tasks=(make_task("r2", 2),)))
        assert gpus_of(await stage.host.spawn.next()) == "0", "the stopped run has no GPU"


async def test_tasks_may_share_a_gpu(autojump_clock: MockClock) -> None:
    config = attrs.evolve(CONFIG, gpu=GpuSlots(tasks_per_card=2))
    async with open_stage(config, host=host_with(TWO)) as stage:
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(tasks=tuple(make_task(f"r{n}", n) for n in range(4))))
        children = [await stage.host.spawn.next() for _ in range(4)]
        assert sorted(gpus_of(child) or "" for child in children) == ["0", "0", "1", "1"]


async def test_tasks_of_other_services_see_no_gpu(autojump_clock: MockClock) -> None:
    config = attrs.evolve(CONFIG, gpu=GpuSlots(tasks_per_card=1, services=("blender",)))
    async with open_stage(config, host=host_with(TWO)) as stage:
        link = await stage.server.accept()
        assert (await link.welcome()).max_tasks == CONFIG.max_tasks
        await link.send(Events(tasks=(make_task("r0", 0),)))
        assert gpus_of(await stage.host.spawn.next()) == "-1"


async def test_without_gpus_or_without_the_setting_no_variable_is_set(
    autojump_clock: MockClock,
) -> None:
    for config, found in ((ALONE, HostResources()), (CONFIG, TWO)):
        async with open_stage(config, host=host_with(found)) as stage:
            link = await stage.server.accept()
            await link.welcome()
            await link.send(Events(tasks=(make_task("r0", 0),)))
            assert gpus_of(await stage.host.spawn.next()) is None


async def test_a_driver_that_starts_up_is_waited_for(autojump_clock: MockClock) -> None:
    found = [HostResources(stale=("gpus",))]
    host = MemoryHost(resources=lambda: found[0])
    async with open_stage(ALONE, host=host) as stage:
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(tasks=(make_task("r0", 0),)))
        async with keep_reading(link):
            await trio.sleep(2)
            assert host.spawn.children == []
            waiting = await wait_until_one_waits(stage)
            assert waiting == "waits for a GPU: it is not known yet which are free"
            found[0] = TWO
            assert gpus_of(await host.spawn.next()) == "0"


async def test_a_driver_that_never_answers_counts_as_none_after_a_while(
    autojump_clock: MockClock,
) -> None:
    found = HostResources(stale=("gpus",))
    async with open_stage(ALONE, host=host_with(found)) as stage:
        link = await stage.server.accept()
        await link.welcome()
        start = trio.current_time()
        await link.send(Events(tasks=(make_task("r0", 0),)))
        async with keep_reading(link):
            assert gpus_of(await stage.host.spawn.next()) is None
        assert 25 < trio.current_time() - start < 40


async def test_the_agents_own_visible_devices_are_a_limit(autojump_clock: MockClock) -> None:
    host = host_with(TWO)
    host.environ = {"CUDA_VISIBLE_DEVICES": "1"}
    async with open_stage(ALONE, host=host) as stage:
        link = await stage.server.accept()
        assert (await link.welcome()).max_tasks == 1
        await link.send(Events(tasks=(make_task("r0", 0),)))
        child = await stage.host.spawn.next()
        assert gpus_of(child) == "1"
        assert child.launch.environment["AF_TASK_GPUS"] == "1"


async def test_agents_of_one_program_share_the_allocations(autojump_clock: MockClock) -> None:
    async with (
        open_stage(ALONE, host=host_with(TWO)) as one,
        open_stage(attrs.evolve(ALONE, name="n2"), host=host_with(TWO)) as other,
    ):
        for number, stage in enumerate((one, other)):
            link = await stage.server.accept()
            await link.welcome()
            await link.send(Events(tasks=(make_task(f"r{number}", number),)))
        children = [await one.host.spawn.next(), await other.host.spawn.next()]
        assert sorted(gpus_of(child) or "" for child in children) == ["0", "1"]


async def test_an_inherited_run_keeps_its_gpu(
    autojump_clock: MockClock,
) -> None:
    host = host_with(TWO)
    async with open_stage(ALONE, host=host) as stage:
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(tasks=(make_task("r0", 0), make_task("r1", 1))))
        children = [await host.spawn.next() for _ in range(2)]
        assert host.gpus == {run_of(child): (gpus_of(child),) for child in children}
    [inherited] = [run for run, gpus in host.gpus.items() if gpus == ("1",)]
    host.inherited = frozenset({inherited})
    async with open_stage(ALONE, host=host) as stage:
        link = await stage.server.accept()
        await link.welcome()
        assert run_of(await host.spawn.next()) == inherited
        await link.send(Events(tasks=(make_task("r7", 7), make_task("r8", 8))))
        child = await host.spawn.next()
        assert gpus_of(child) == "0"
        await wait_until_one_waits(stage)
