"""What happens to jobs when their times come: lives, waits, rates, forgiven hosts. In virtual time."""

from __future__ import annotations

import trio
from support.farm import ADMIN, FakeLink, listed, make_update, one_job
from trio.testing import MockClock

from trio_afrender.farm import Farm, FarmSettings, HostNeeds, open_farm
from trio_afrender.farm.job_edits import edit_job
from trio_afrender.protocol.messages import Events, TaskExec, TaskStatus

_PATIENT = FarmSettings(zombie_time=100_000.0)
"""The links of these tests send nothing by themselves."""


async def next_task(link: FakeLink) -> TaskExec:
    while True:
        for task in (await link.expect(Events)).tasks:
            return task


async def until_gone(farm: Farm, job: int) -> float:
    """Wait until a job is gone; return when that was."""
    seen = 0
    while job in farm.jobs:
        seen = await farm.changed(seen)
    return trio.current_time()


async def test_lives_of_jobs(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        async with open_farm(None, settings=_PATIENT, wall=trio.current_time) as farm:
            link = FakeLink()
            nursery.start_soon(farm.serve_link, link)
            await link.register()
            done = farm.submit(one_job(time_life=100))
            await link.update(make_update(await next_task(link)))
            await farm.wait(done)
            await trio.sleep(10.0)
            old = farm.submit(one_job(time_life=50, offline=True))
            running = farm.submit(one_job(time_life=60))
            task = await next_task(link)
            assert await until_gone(farm, old) == 60.0
            assert (await link.expect(Events)).stops[0].run == task.run
            assert trio.current_time() == 70.0
            await trio.sleep(5.0)
            assert farm.state.jobs[running].deleting
            await link.update(make_update(task, TaskStatus.FinishedKilled))
            assert await until_gone(farm, running) == 75.0
            assert await until_gone(farm, done) == 100.0
        link.cut()


async def test_a_time_that_is_edited(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        async with open_farm(None, settings=_PATIENT, wall=trio.current_time) as farm:
            link = FakeLink()
            nursery.start_soon(farm.serve_link, link)
            await link.register()
            job = farm.submit(one_job(time_wait=1000))
            await trio.sleep(10.0)
            edit_job(farm.state, farm.state.jobs[job], {"time_wait": 300}, ADMIN, 10.0)
            farm.dispatch()
            await next_task(link)
            assert trio.current_time() == 300.0
        link.cut()


async def test_starts_in_a_second(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        async with open_farm(None, settings=_PATIENT, wall=trio.current_time) as farm:
            link = FakeLink()
            nursery.start_soon(farm.serve_link, link)
            await link.register()
            farm.submit(one_job(listed(5), needs=HostNeeds(max_tasks_per_second=2)))
            times: list[float] = []
            while len(times) < 5:
                events = await link.expect(Events)
                times += [trio.current_time()] * len(events.tasks)
            assert times == [0.0, 0.0, 1.0, 1.0, 2.0]
        link.cut()


async def test_a_host_that_is_forgiven(autojump_clock: MockClock) -> None:
    settings = FarmSettings(zombie_time=100_000.0, errors_retries=9)
    async with trio.open_nursery() as nursery:
        async with open_farm(None, settings=settings, wall=trio.current_time) as farm:
            bad, busy = FakeLink(), FakeLink()
            for link in (bad, busy):
                nursery.start_soon(farm.serve_link, link)
            await busy.register("busy", max_tasks=1)
            farm.submit(one_job(name="other"))
            await next_task(busy)
            await bad.register("bad")
            block = listed(1, errors_avoid_host=1, errors_forgive_time=60)
            farm.submit(one_job(block))
            task = await next_task(bad)
            await trio.sleep(5.0)
            await bad.update(make_update(task, TaskStatus.FinishedError))
            again = await next_task(bad)
            assert (again.key, trio.current_time()) == (task.key, 65.0)
            busy.cut()
            bad.cut()
