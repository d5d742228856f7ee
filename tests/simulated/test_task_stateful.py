"""Tasks under any order of events: a real farm, two real agents, fake processes.

Whatever the order of starts, output, exits, stops, closes, lost links and agents that leave: a host never
has two processes of one task, each task has one outcome, its output is what its last process
printed, no process is left, and no outcome is left to be delivered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import attrs
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from trio_afrender import AgentHandle, Config, Timing, run_agent
from trio_afrender.agent.agent_dependencies import AgentDependencies
from trio_afrender.agent.journal_format import PendingState, read_records, replay
from trio_afrender.farm.farm import Farm, FarmSettings, open_farm
from trio_afrender.jobs.job_file import parse_job
from trio_afrender.process.interfaces import Launch, TreeSignal
from trio_afrender.protocol.messages import TaskKey
from trio_afrender.testing import (
    FakeChild,
    FakeSpawn,
    MemoryHost,
    MemoryServer,
    open_memory_server,
    virtual_wall,
)

NAMES = ("a", "b")
ZOMBIE = 16.0
TIME_LIMIT = 5000.0
"""Virtual seconds for one example."""
Step = tuple[str, int, float]


class WatchedSpawn:
    """Starts fake processes; fails if the task has a living one already."""

    def __init__(self, inner: FakeSpawn) -> None:
        self.inner = inner

    async def __call__(self, launch: Launch) -> FakeChild:
        key = _key(launch)
        for other in self.inner.children:
            if _key(other.launch) == key:
                assert not other._living(), f"{key} is started while its older tree is alive"
        return await self.inner(launch)


def _key(launch: Launch) -> tuple[str, ...]:
    return tuple(launch.environment[f"AF_{part}_ID"] for part in ("JOB", "BLOCK", "TASK"))


@attrs.define(eq=False)
class Scene:
    """What the steps of an example act on."""

    farm: Farm
    server: MemoryServer
    nursery: trio.Nursery
    hosts: dict[str, MemoryHost] = attrs.field(factory=dict)
    agents: dict[str, AgentHandle] = attrs.field(factory=dict)
    ends: Counter[TaskKey] = attrs.field(factory=Counter)
    written: int = 0

    def children(self) -> list[FakeChild]:
        return [child for host in self.hosts.values() for child in host.spawn.children]

    def living(self) -> list[FakeChild]:
        return [child for child in self.children() if child._living()]

    async def start(self, name: str) -> None:
        host = self.hosts.setdefault(name, MemoryHost())
        config = Config(
            name=name, max_tasks=3, capacity=4000, timing=Timing(grace=5.0, zombie=ZOMBIE)
        )

        @asynccontextmanager
        async def outside() -> AsyncIterator[AgentDependencies]:
            async with host.open() as opened:
                yield attrs.evolve(opened, spawn=WatchedSpawn(host.spawn))

        self.agents[name] = await self.nursery.start(
            partial(run_agent, config, connect=self.server.connect_as(name), outside=outside())
        )

    async def act(self, kind: str, which: int, amount: float) -> None:
        """Perform a step; one that finds nothing to act on is skipped."""
        if kind in PROCESS_KINDS:
            if living := self.living():
                await self.act_on_process(living[which % len(living)], kind, which)
            return
        tasks = [task for job in self.farm.jobs for task in self.farm.view(job).tasks]
        match kind:
            case "job":
                listed = [{"name": str(i), "command": "c"} for i in range(1 + which % 3)]
                block = {"name": "b", "capacity": 100, "errors_retries": 1, "tasks": listed}
                self.farm.submit(parse_job({"job": {"name": "j", "blocks": [block]}}))
            case "sleep":
                await trio.sleep(amount)
            case "stop" if tasks:
                self.farm.stop_task(tasks[which % len(tasks)].key, "model")
            case "stop job" if self.farm.jobs:
                self.farm.stop_job(self.farm.jobs[which % len(self.farm.jobs)], "model")
            case "stop here" if tasks:
                agent = self.agents[NAMES[which % 2]]
                agent.stop_task(tasks[which % len(tasks)].key, "model")
            case "cut":
                self.server.cut()
            case "silent":
                self.server.fall_silent()
            case "refuse":
                self.server.refuse(True)
                self.server.cut()
                await trio.sleep(amount)
                self.server.refuse(False)
            case "replace":
                name = NAMES[which % 2]
                self.agents[name].stop_now("model")
                await self.agents[name].finished()
                await self.start(name)

    async def act_on_process(self, child: FakeChild, kind: str, which: int) -> None:
        match kind:
            case "write" if child._status is None:
                self.written += 1
                try:
                    await child.write(b"line %d\n" % self.written)
                except trio.ClosedResourceError:
                    # A stop may end it at the checkpoint before the bytes are taken.
                    assert child._status is not None
            case "exit":
                child.exit(which % 2)
            case "crash":
                child.exit(signal=11)
            case "fork" if child._status is None:
                child.fork(holds_output=bool(which % 2))
            case "stubborn":
                child.dies_of = {TreeSignal.KILL}

    async def finish(self) -> None:
        """Let every process succeed until all jobs are over."""
        while any(self.farm.view(job).state == "running" for job in self.farm.jobs):
            for child in self.living():
                child.dies_of = {TreeSignal.TERM, TreeSignal.KILL}
                child.exit(0)
            await trio.sleep(1)
        await trio.sleep(2 * ZOMBIE)

    def check(self) -> None:
        for job in self.farm.jobs:
            for task in self.farm.view(job).tasks:
                assert self.ends[task.key] == 1, f"{task.key} has {self.ends[task.key]} outcomes"
                if task.state in ("done", "error"):
                    log = self.hosts[task.render].places[task.run].log
                    assert task.output == log.reader().read(0, 1 << 20).data.decode()
        for child in self.children():
            assert not child._living()
            assert child.reaped
        for name, host in self.hosts.items():
            assert self.agents[name].running == ()
            pending = replay(read_records(bytes(host.journal), 0))
            assert pending == PendingState(), f"{name} still has to deliver {pending}"


@asynccontextmanager
async def open_scene() -> AsyncIterator[Scene]:
    async with (
        open_farm(None, settings=FarmSettings(zombie_time=ZOMBIE), wall=virtual_wall) as farm,
        open_memory_server(farm.serve_link, keepalive=ZOMBIE) as server,
        trio.open_nursery() as nursery,
    ):
        scene = Scene(farm, server, nursery)
        original = farm._listeners.end

        def end(key: TaskKey) -> None:
            scene.ends[key] += 1
            original(key)

        farm._listeners.end = end  # type: ignore[method-assign]  # a spy, for this farm alone
        for name in NAMES:
            await scene.start(name)
        yield scene
        nursery.cancel_scope.cancel()


async def play(steps: list[Step]) -> None:
    with trio.fail_after(TIME_LIMIT):
        async with open_scene() as scene:
            for step in steps:
                await scene.act(*step)
            await scene.finish()
            scene.check()


PROCESS_KINDS = {"write", "exit", "crash", "fork", "stubborn"}
KINDS = ("job", "job", "sleep", "sleep", "sleep", "write", "write", "exit", "exit", "crash", "fork",
         "stubborn", "stop", "stop", "stop job", "stop here", "cut", "silent", "refuse", "replace")  # fmt: skip
SECONDS = st.sampled_from((0.0, 0.1, 1.0, 4.0, 15.0, 17.0, 40.0))
STEPS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 5), SECONDS), max_size=25)


@settings(max_examples=40)
@given(STEPS)
def test_any_order_of_events_gives_each_task_one_outcome(steps: list[Step]) -> None:
    trio.run(play, [("job", 2, 0.0), *steps], clock=MockClock(autojump_threshold=0))
