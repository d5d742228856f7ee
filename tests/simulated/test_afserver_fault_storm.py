"""Storms: whatever is lost, cut, silent or restarted, in the end every task is done, once and whole.

Each seed is another storm in virtual time. Afterwards the weather is fine for a while, and then
both sides must believe the same: nothing runs, nothing is held, every output is what its last run
printed.
"""

from __future__ import annotations

import random

import pytest
import trio
from support.agent_on_afserver import NativeStage, make_task, open_native_stage
from trio.testing import MockClock

from trio_afrender.process.interfaces import TreeSignal
from trio_afrender.protocol.afanasy import Json, Message, RenderEvents, encode
from trio_afrender.testing import FakeChild, Fault, NativeState, NativeTask

TASKS = 12
STORM = 120.0
"""Seconds of bad weather."""
CALM = 600.0


class Storm:
    """One seed's troubles."""

    def __init__(self, stage: NativeStage, seed: int) -> None:
        self.stage = stage
        self.dice = random.Random(seed)  # noqa: S311 - the same storm every time
        self.living: dict[str, int] = {}
        self.overlaps: list[str] = []

    async def serve_children(self) -> None:
        """Play the processes: each prints who it is, works a while and ends."""
        async with trio.open_nursery() as nursery:
            while True:
                child = await self.stage.host.spawn.next()
                nursery.start_soon(self._live, child)

    async def _live(self, child: FakeChild) -> None:
        which = child.launch.environment["AF_TASK_ID"]
        self.living[which] = self.living.get(which, 0) + 1
        if self.living[which] > 1:
            self.overlaps.append(which)
        try:
            with trio.move_on_after(self.dice.choice((0.01, 0.3, 2, 7, 20))) as working:
                await child.signalled()
            if working.cancelled_caught:
                await child.write(f"task {which}\n".encode())
                child.exit(1 if self.dice.random() < 0.2 else 0)
            else:
                await child.exited()
        finally:
            self.living[which] -= 1

    async def blow(self) -> None:
        """One trouble after the other until the storm is over."""
        server, dice = self.stage.server, self.dice
        assert server.listener is not None
        until = trio.current_time() + STORM
        while trio.current_time() < until:
            await trio.sleep(dice.choice((0.05, 0.3, 1, 3, 8)))
            match dice.choice(("lose", "lose", "lose", "hang", "cut", "away", "restart", "again")):
                case "lose":
                    server.fail(Fault(where=self._any, received=dice.random() < 0.7))
                case "hang":
                    server.fail(Fault(where=self._any, received=dice.random() < 0.7, hang=True))
                case "cut":
                    server.listener.cut()
                case "away":
                    server.listener.refusing = True
                    await trio.sleep(dice.choice((0.5, 3, 10, 40)))
                    server.listener.refusing = False
                case "restart":
                    server.down = True
                    await trio.sleep(dice.choice((0.1, 2, 20)))
                    server.restart()
                    server.down = False
                case "again":
                    answer = encode(RenderEvents(id=-1, log="No such render."))
                    server.fail(Fault(where=self._any, answer=answer, received=False))

        server.clear_faults()

    def _any(self, message: Message) -> bool:
        return not isinstance(message, Json) or self.dice.random() < 0.5


def is_over(task: NativeTask) -> bool:
    return task.state is NativeState.DONE


@pytest.mark.parametrize("seed", range(12))
async def test_a_storm(autojump_clock: MockClock, seed: int) -> None:
    async with open_native_stage() as stage, trio.open_nursery() as nursery:
        stage.host.spawn.dies_of = frozenset({TreeSignal.TERM, TreeSignal.KILL})
        storm = Storm(stage, seed)
        nursery.start_soon(storm.serve_children)
        await stage.server.online("n1")
        tasks = [stage.server.add_task(make_task(n), retries=1000) for n in range(TASKS)]
        await storm.blow()
        await stage.server.until(lambda: all(map(is_over, tasks)), within=CALM)
        await trio.sleep(70)
        assert [task.output for task in tasks] == [f"task {n}\n".encode() for n in range(TASKS)]
        assert stage.agent.running == ()
        render = stage.server.render("n1")
        assert render is not None
        assert render.tasks == []
        assert storm.overlaps == [], "never two processes of one task"
        nursery.cancel_scope.cancel()
