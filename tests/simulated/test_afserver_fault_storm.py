"""Random faults: after lost answers, cuts, silence and restarts every task is done, with its output.

Each seed is another sequence of faults in virtual time. After a time without faults both sides must
agree: nothing runs, nothing is held, and every output is what the task's last run printed.
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
FAULT_SECONDS = 120.0
"""Virtual seconds during which faults are injected."""
RECOVERY_TIMEOUT = 600.0
"""Virtual seconds in which all tasks must be done afterwards."""


class FaultInjector:
    """The random faults of one seed, and the processes of the tasks."""

    def __init__(self, stage: NativeStage, seed: int) -> None:
        self.stage = stage
        self.dice = random.Random(seed)  # noqa: S311 - the same faults in every run
        self.alive: dict[str, int] = {}
        self.overlaps: list[str] = []
        """Tasks that had two processes at a time."""

    async def serve_processes(self) -> None:
        """Run the processes: each prints its task's number after a while and exits."""
        async with trio.open_nursery() as nursery:
            while True:
                child = await self.stage.host.spawn.next()
                nursery.start_soon(self._run_process, child)

    async def _run_process(self, child: FakeChild) -> None:
        task = child.launch.environment["AF_TASK_ID"]
        self.alive[task] = self.alive.get(task, 0) + 1
        if self.alive[task] > 1:
            self.overlaps.append(task)
        try:
            with trio.move_on_after(self.dice.choice((0.01, 0.3, 2, 7, 20))) as working:
                await child.signalled()
            if working.cancelled_caught:
                await child.write(f"task {task}\n".encode())
                child.exit(1 if self.dice.random() < 0.2 else 0)
            else:
                await child.exited()
        finally:
            self.alive[task] -= 1

    async def inject(self) -> None:
        """Inject one fault after the other for `FAULT_SECONDS`."""
        server, dice = self.stage.server, self.dice
        assert server.listener is not None
        until = trio.current_time() + FAULT_SECONDS
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


def is_done(task: NativeTask) -> bool:
    return task.state is NativeState.DONE


@pytest.mark.parametrize("seed", range(12))
async def test_all_tasks_are_done_after_random_faults(autojump_clock: MockClock, seed: int) -> None:
    async with open_native_stage() as stage, trio.open_nursery() as nursery:
        stage.host.spawn.dies_of = frozenset({TreeSignal.TERM, TreeSignal.KILL})
        injector = FaultInjector(stage, seed)
        nursery.start_soon(injector.serve_processes)
        await stage.server.online("n1")
        tasks = [stage.server.add_task(make_task(n), retries=1000) for n in range(TASKS)]
        await injector.inject()
        await stage.server.until(lambda: all(map(is_done, tasks)), within=RECOVERY_TIMEOUT)
        await trio.sleep(70)
        assert [task.output for task in tasks] == [f"task {n}\n".encode() for n in range(TASKS)]
        assert stage.agent.running == ()
        render = stage.server.render("n1")
        assert render is not None
        assert render.tasks == []
        assert injector.overlaps == [], "never two processes of one task"
        nursery.cancel_scope.cancel()
