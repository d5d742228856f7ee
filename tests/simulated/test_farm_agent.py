"""A farm and agents together. Only the disk, the processes and the clock are fakes."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import attrs
import pytest
import trio
from trio.testing import MockClock

from trio_afrender import AgentHandle, Config, Timing, run_agent
from trio_afrender.config.settings import CGRU
from trio_afrender.farm.farm import Farm, open_farm
from trio_afrender.farm.model import RenderState
from trio_afrender.farm.node_log import Actor
from trio_afrender.farm.render_edits import operate_render
from trio_afrender.jobs.job_file import parse_job
from trio_afrender.jobs.views import TaskView
from trio_afrender.process.interfaces import TreeSignal
from trio_afrender.protocol.messages import NetIF, TaskKey
from trio_afrender.testing import (
    FakeChild,
    MemoryHost,
    MemoryServer,
    open_memory_server,
    virtual_wall,
)

Behaviour = Callable[[FakeChild], Awaitable[None]]

SLEEP = CGRU["af_render_cmd_wolsleep"].default


@attrs.define(eq=False)
class FarmWithAgents:
    """A farm, its server, and the agents that a test adds."""

    farm: Farm
    server: MemoryServer
    nursery: trio.Nursery
    packets: list[str]
    """MAC addresses that packets were sent to."""
    hosts: dict[str, MemoryHost] = attrs.field(factory=dict)

    async def add(
        self,
        name: str,
        behaviour: Behaviour | None = None,
        max_tasks: int = 4,
        instructions: tuple[str, ...] = (),
    ) -> AgentHandle:
        """Start an agent. `behaviour` controls each of its processes; None: the test does."""
        host = self.hosts.setdefault(name, MemoryHost())
        config = Config(
            name=name,
            max_tasks=max_tasks,
            capacity=4000,
            timing=Timing(grace=5.0),
            instructions=instructions,
        )
        connect = self.server.connect_as(name)
        handle: AgentHandle = await self.nursery.start(
            partial(run_agent, config, connect=connect, outside=host.open())
        )
        if behaviour is not None:
            self.nursery.start_soon(self._control_processes, host, behaviour)
        return handle

    async def _control_processes(self, host: MemoryHost, behaviour: Behaviour) -> None:
        while True:
            self.nursery.start_soon(behaviour, await host.spawn.next())

    async def finish(self, job: int) -> tuple[TaskView, ...]:
        return (await self.farm.wait(job)).tasks


@asynccontextmanager
async def open_farm_with_agents() -> AsyncIterator[FarmWithAgents]:
    packets: list[str] = []

    def send_packets(macs: Sequence[str], address: str, port: int) -> None:
        packets.extend(macs)

    async with (
        open_farm(None, wall=virtual_wall, send_packets=send_packets) as farm,
        open_memory_server(farm.serve_link) as server,
        trio.open_nursery() as nursery,
    ):
        yield FarmWithAgents(farm, server, nursery, packets)
        nursery.cancel_scope.cancel()


def make_job(*blocks: dict[str, object]) -> dict[str, object]:
    return {"job": {"name": "job", "blocks": list(blocks)}}


def make_block(name: str = "b", tasks: int = 3, **fields: object) -> dict[str, object]:
    listed = [{"name": f"{name}{i}", "command": f"render {name} {i}"} for i in range(tasks)]
    base = {"name": name, "service": "generic", "parser": "generic", "capacity": 100}
    return {**base, "tasks": listed, **fields}


async def succeed(child: FakeChild) -> None:
    await child.write(b"PROGRESS: 50%\n")
    await trio.sleep(10)
    await child.write(f"{child.launch.argv[-1]}: done\n".encode())
    child.exit(0)


async def test_a_job_is_done(autojump_clock: MockClock) -> None:
    async with open_farm_with_agents() as setup:
        await setup.add("r1", succeed)
        job = setup.farm.submit(parse_job(make_job(make_block(tasks=6))))
        tasks = await setup.finish(job)
        assert [t.state for t in tasks] == ["done"] * 6
        assert tasks[5].output == "PROGRESS: 50%\nrender b 5: done\n"
        assert {t.attempts for t in tasks} == {1}
        assert 20 <= trio.current_time() <= 25, "four at a time, ten seconds each"


async def test_dependent_blocks_wait(autojump_clock: MockClock) -> None:
    async with open_farm_with_agents() as setup:
        await setup.add("r1", succeed)
        job = setup.farm.submit(
            parse_job(make_job(make_block("movie", 1, depend_mask="frames"), make_block("frames")))
        )
        movie, *frames = await setup.finish(job)
        assert movie.started is not None
        assert all(f.finished is not None and f.finished <= movie.started for f in frames)


async def test_errors_are_retried_a_given_number_of_times(autojump_clock: MockClock) -> None:
    async def behave(child: FakeChild) -> None:
        await trio.sleep(1)
        child.exit(1)

    async with open_farm_with_agents() as setup:
        await setup.add("r1", behave)
        job = setup.farm.submit(parse_job(make_job(make_block(tasks=1, errors_retries=2))))
        (task,) = await setup.finish(job)
        assert (task.state, task.attempts, task.exit_code) == ("error", 3, 1)


async def test_a_dead_agent_costs_its_tasks_the_zombie_time(autojump_clock: MockClock) -> None:
    async with open_farm_with_agents() as setup:
        await setup.add("dies")
        job = setup.farm.submit(parse_job(make_job(make_block(tasks=1))))
        orphan = await setup.hosts["dies"].spawn.next()
        setup.server.fall_silent()
        await setup.add("lives", succeed)
        start = trio.current_time()
        (task,) = await setup.finish(job)
        assert (task.state, task.render) == ("done", "lives")
        assert trio.current_time() - start >= 16
        await orphan.signalled()


async def test_a_cut_link_costs_nothing(autojump_clock: MockClock) -> None:
    async with open_farm_with_agents() as setup:
        await setup.add("r1")
        job = setup.farm.submit(parse_job(make_job(make_block(tasks=1))))
        child = await setup.hosts["r1"].spawn.next()
        setup.server.cut()
        child.exit(0)
        (task,) = await setup.finish(job)
        assert (task.state, task.attempts) == ("done", 1)


async def test_a_stopped_task_ends_with_its_reason(autojump_clock: MockClock) -> None:
    async with open_farm_with_agents() as setup:
        await setup.add("r1")
        job = setup.farm.submit(parse_job(make_job(make_block(tasks=1))))
        child = await setup.hosts["r1"].spawn.next()
        child.dies_of = {TreeSignal.KILL}
        await trio.sleep(1)
        setup.farm.stop_task(TaskKey(job, 0, 0), "wrong camera")
        (task,) = await setup.finish(job)
        assert task.state == "killed"
        assert "wrong camera" in task.log
        assert [name for _, name in child.signals] == ["TERM", "KILL"]


async def test_a_suspended_task_stays_so_over_a_lost_link_until_it_is_resumed(
    autojump_clock: MockClock,
) -> None:
    async with open_farm_with_agents() as setup:
        await setup.add("r1")
        job = setup.farm.submit(parse_job(make_job(make_block(tasks=1))))
        key = TaskKey(job, 0, 0)
        assert not setup.farm.suspend_task(key, "too early")
        child = await setup.hosts["r1"].spawn.next()
        await trio.sleep(1)
        setup.server.cut()
        assert setup.farm.suspend_task(key, "the artist is back")
        await child.signalled(TreeSignal.SUSPEND)
        setup.server.cut()
        await trio.sleep(10)
        assert setup.farm.resume_task(key)
        await child.signalled(TreeSignal.RESUME)
        child.exit(0)
        (task,) = await setup.finish(job)
        assert task.state == "done"
        assert "suspended: the artist is back" in task.log
        assert [name for _, name in child.signals] == ["SUSPEND", "RESUME"]


async def test_a_draining_agent_gets_no_more_tasks_and_another_one_does(
    autojump_clock: MockClock,
) -> None:
    async with open_farm_with_agents() as setup:
        leaving = await setup.add("leaves", succeed, max_tasks=1)
        job = setup.farm.submit(parse_job(make_job(make_block(tasks=4))))
        await trio.sleep(5)
        leaving.drain("maintenance")
        await leaving.finished()
        await setup.add("stays", succeed, max_tasks=1)
        tasks = await setup.finish(job)
        assert sorted(t.render for t in tasks) == ["leaves", "stays", "stays", "stays"]
        assert {t.state for t in tasks} == {"done"}
        assert {t.attempts for t in tasks} == {1}


async def test_a_second_agent_of_a_name_waits_until_the_first_has_left(
    autojump_clock: MockClock,
) -> None:
    async with open_farm_with_agents() as setup:
        first = await setup.add("same", succeed)
        second = await setup.add("same", succeed)
        await trio.sleep(10)
        assert (first.state, second.state) == ("online", "connecting")
        first.drain("making room")
        await first.finished()
        await trio.sleep(15)
        assert second.state == "online"


async def test_listening_through_the_farm(autojump_clock: MockClock) -> None:
    async with open_farm_with_agents() as setup:
        await setup.add("r1")
        job = setup.farm.submit(parse_job(make_job(make_block(tasks=1))))
        child = await setup.hosts["r1"].spawn.next()
        received = ""
        async with setup.farm.listen(TaskKey(job, 0, 0)) as texts:
            await trio.sleep(2)
            await child.write(b"one\ntwo\n")
            await trio.sleep(2)
            child.exit(0)
            async for text in texts:
                received += text
        assert received == "one\ntwo\n"


@pytest.mark.parametrize("seed", range(12))
def test_each_task_ends_once_despite_random_faults(seed: int) -> None:
    """Links are cut, silenced and refused at random: in the end each task is done, none twice."""
    dice = random.Random(seed)  # noqa: S311 - repeatable by its seed

    async def behave(child: FakeChild) -> None:
        await child.write(b"PROGRESS: 50%\n")
        await trio.sleep(dice.uniform(0, 30))
        child.exit(0)

    async def inject_faults(server: MemoryServer) -> None:
        for _ in range(12):
            await trio.sleep(dice.uniform(0, 20))
            match dice.randrange(3):
                case 0:
                    server.cut()
                case 1:
                    server.fall_silent()
                case _:
                    server.refuse(True)
                    server.cut()
                    await trio.sleep(dice.uniform(0, 25))
                    server.refuse(False)

    async def scenario() -> None:
        async with open_farm_with_agents() as setup:
            for name in ("r1", "r2", "r3"):
                await setup.add(name, behave, max_tasks=2)
            job = setup.farm.submit(
                parse_job(make_job(make_block(tasks=20), make_block("last", 2, depend_mask="b")))
            )
            setup.nursery.start_soon(inject_faults, setup.server)
            with trio.fail_after(3600):
                tasks = await setup.finish(job)
            assert {t.state for t in tasks} == {"done"}
            await trio.sleep(300)
            left = [c for h in setup.hosts.values() for c in h.spawn.children if not c.reaped]
            assert left == [], "no process is left behind"

    trio.run(scenario, clock=MockClock(autojump_threshold=0))


# Sleep


def sleeper(*, launch_code: int = 0) -> MemoryHost:
    host = MemoryHost()
    host.facts = attrs.evolve(host.facts, netifs=(NetIF(name="e", mac="02:00:00:00:00:01"),))
    host.launch_code = launch_code
    return host


def order_sleep(setup: FarmWithAgents, name: str) -> RenderState:
    render = setup.farm.state.renders[name]
    actor = Actor(user_name="root", admin=True)
    operate_render(setup.farm.state, render, {"type": "wol_sleep"}, actor, trio.current_time())
    setup.farm.dispatch()
    assert render.states.words == " ONL WFL"
    return render


@pytest.mark.parametrize(
    ("instructions", "launch_code", "reason"),
    [
        (("sleep",), 7, f"Not asleep: ended with 7: {SLEEP} --sleep"),
        (("sleep",), 0, "Not asleep: the host is awake 60 s after the command to sleep"),
        ((), 0, 'Not asleep: the instruction "sleep" is not allowed on this host'),
    ],
)
async def test_a_host_that_does_not_sleep_gets_tasks_again(
    instructions: tuple[str, ...], launch_code: int, reason: str, autojump_clock: MockClock
) -> None:
    async with open_farm_with_agents() as setup:
        setup.hosts["r1"] = sleeper(launch_code=launch_code)
        await setup.add("r1", succeed, instructions=instructions)
        await trio.sleep(5)
        render = order_sleep(setup, "r1")
        job = setup.farm.submit(parse_job(make_job(make_block(tasks=1))))
        assert [task.state for task in await setup.finish(job)] == ["done"]
        assert any(reason in line for line in render.node_log.lines)
        assert render.states.words == " ONL"


async def test_a_host_that_sleeps_is_woken_for_a_task(autojump_clock: MockClock) -> None:
    async with open_farm_with_agents() as setup:
        setup.hosts["r1"] = sleeper()
        agent = await setup.add("r1", succeed, instructions=("sleep",))
        await trio.sleep(5)
        render = order_sleep(setup, "r1")
        await trio.sleep(1)
        assert setup.hosts["r1"].launched[0].endswith("020000000001")
        agent.leave("the host sleeps")
        await agent.finished()
        await trio.sleep(17)
        assert render.states.words == " OFF WSL"
        job = setup.farm.submit(parse_job(make_job(make_block(tasks=1))))
        assert render.states.words == " OFF WSL WWK"
        assert setup.packets == ["02:00:00:00:00:01"]
        await setup.add("r1", succeed)
        assert [task.state for task in await setup.finish(job)] == ["done"]
