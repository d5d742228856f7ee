"""A farm's state machine with renders made of nothing, and a link made of two channels."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TypeVar

import attrs
import trio

from trio_afrender.errors import LinkLost
from trio_afrender.farm import BlockSpec, FarmSettings, JobSpec, JobView, TaskSpec, TaskView
from trio_afrender.farm.state import AttemptOutput, LogText, OutgoingMessages
from trio_afrender.farm.state_machine import FarmStateMachine
from trio_afrender.farm.store import MemoryFarmStore
from trio_afrender.protocol.messages import (
    Ack,
    BlockFlags,
    Events,
    FromRender,
    FromServer,
    Refused,
    Register,
    Registered,
    RunRef,
    TaskExec,
    TaskKey,
    TaskStatus,
    TaskUpdate,
    Update,
)

__all__ = (
    "FakeLink",
    "FakeRender",
    "Stage",
    "frames",
    "listed",
    "make_update",
    "one_job",
    "with_fields",
)

Done = TaskStatus.FinishedSuccess
_T = TypeVar("_T")


def with_fields(value: _T, fields: Mapping[str, object]) -> _T:
    """A frozen value with some of its fields changed, whatever it is."""
    # mypy knows no bound that says "a class of attrs".
    return attrs.evolve(value, **fields)  # type: ignore[misc]  # as above


def one_job(*blocks: BlockSpec, **fields: object) -> JobSpec:
    return with_fields(JobSpec(blocks=blocks or (listed(1),)), fields)


def listed(count: int = 1, **fields: object) -> BlockSpec:
    """A block of so many tasks, light enough that a render takes several."""
    block = BlockSpec(name="b", capacity=100, tasks=(TaskSpec(command="x"),) * count)
    return with_fields(block, fields)


def frames(first: int, last: int, **fields: object) -> BlockSpec:
    block = BlockSpec(
        flags=BlockFlags.NUMERIC, frame_first=first, frame_last=last, capacity=100, command="x"
    )
    return with_fields(block, fields)


def make_update(exec_: TaskExec, status: TaskStatus = Done, **fields: object) -> TaskUpdate:
    update = TaskUpdate(run=exec_.run, **exec_.key._asdict(), status=status)
    return with_fields(update, fields)


class Stage:
    """A state machine at a time that the test sets, with all its effects collected."""

    def __init__(self, **settings: float) -> None:
        self.store = MemoryFarmStore()
        self.settings = with_fields(FarmSettings(), settings)
        numbers = itertools.count(1)
        self.state = FarmStateMachine(
            self.store,
            settings=self.settings,
            wall=lambda: 1_000_000.0 + self.now,
            make_run=lambda: f"run{next(numbers)}",
        )
        self.now = 0.0
        self.sessions = itertools.count(1)
        self.effects = OutgoingMessages()

    def submit(self, spec: JobSpec) -> int:
        return self.state.submit(spec, self.now)

    def job(self, *blocks: BlockSpec, **fields: object) -> int:
        return self.submit(one_job(*blocks, **fields))

    def render(self, name: str = "a", /, **fields: object) -> FakeRender:
        """A render that has registered."""
        render = FakeRender(self, name, fields)
        answer = render.register()
        assert isinstance(answer, Registered)
        return render

    def pass_time(self, seconds: float) -> None:
        """Let time pass, waking the state whenever it wants to be."""
        end = self.now + seconds
        while self.state.due <= end:
            self.now = max(self.now, self.state.due)
            before = self.state.due
            self.state.tick(self.now)
            assert self.state.due > before, "the clock would spin"
        self.now = end

    def collect(self) -> OutgoingMessages:
        """All effects so far, texts stored."""
        fresh = self.state.take_effects()
        self.store.write(fresh.writes)
        for field in ("writes", "heard", "answers", "over", "ended", "drop"):
            getattr(self.effects, field).extend(getattr(fresh, field))
        self.effects.dirty |= fresh.dirty
        return self.effects

    def view(self, job: int) -> JobView:
        self.collect()
        return self.state.view(job)

    def task(self, job: int, task: int = 0, block: int = 0) -> TaskView:
        key = TaskKey(job, block, task)
        return next(view for view in self.view(job).tasks if view.key == key)

    def states(self, job: int, block: int = 0) -> list[str]:
        return [task.state for task in self.view(job).tasks if task.block == block]

    def outputs(self) -> list[AttemptOutput]:
        return [w for w in self.collect().writes if isinstance(w, AttemptOutput)]

    def logs(self) -> str:
        return "".join(w.text for w in self.collect().writes if isinstance(w, LogText))


class FakeRender:
    """One render's side, without a link: takes events, sends updates."""

    def __init__(self, stage: Stage, name: str, fields: Mapping[str, object]) -> None:
        self.stage = stage
        self.name = name
        self.fields = {"max_tasks": 10, "capacity": 1000, **fields}
        self.session = 0
        self.seq = 0
        self.tasks: dict[str, TaskExec] = {}
        self.events: list[Events] = []

    def register(
        self, *, running: Sequence[TaskExec] = (), undelivered: Sequence[TaskExec] = ()
    ) -> Registered | Refused:
        message = Register(name=self.name, running=tuple(running), undelivered=tuple(undelivered))
        message = with_fields(message, self.fields)
        session = next(self.stage.sessions)
        answer = self.stage.state.register(message, session, "peer", self.stage.now)
        if isinstance(answer, Registered):
            self.session = session
        return answer

    def take(self) -> list[TaskExec]:
        """The tasks handed out to us since the last call; other events are kept too."""
        fresh: list[TaskExec] = []
        while events := self.stage.state.take_events(self.name, self.session):
            self.events.append(events)
            fresh += events.tasks
        self.tasks.update((task.run, task) for task in fresh)
        return fresh

    def take_one(self) -> TaskExec:
        (task,) = self.take()
        return task

    def closed(self) -> list[str]:
        """Runs closed so far."""
        self.take()
        return [ref.run for events in self.events for ref in events.closes]

    def stops(self) -> list[RunRef]:
        self.take()
        return [ref for events in self.events for ref in events.stops]

    def send(self, *tasks: TaskUpdate, **fields: object) -> tuple[RunRef, ...]:
        """Send an update and, as the shell does, have its runs closed."""
        self.seq += 1
        update = with_fields(Update(seq=self.seq, tasks=tasks), fields)
        state = self.stage.state
        state.seen(self.name, self.session, self.stage.now, busy=False)
        closes = state.apply(self.name, self.session, update, self.stage.now)
        state.close(self.name, self.session, closes)
        return closes

    def end(self, task: TaskExec, status: TaskStatus = Done, **fields: object) -> None:
        """Send an outcome; it must be closed."""
        closes = self.send(make_update(task, status, **fields))
        assert [ref.run for ref in closes] == [task.run]
        self.tasks.pop(task.run, None)

    def cut(self) -> None:
        self.stage.state.unlink(self.name, self.session, self.stage.now)

    def leave(self, reason: str = "") -> None:
        self.stage.state.deregister(self.name, self.session, reason, self.stage.now)


class FakeLink:
    """A `ServerLink` of two memory channels, with the render's end for the test to use."""

    def __init__(self, peer: str = "memory", *, names: str = "", room: int = 100) -> None:
        self.peer = peer
        self._names = names
        self._to_farm, self._from_render = trio.open_memory_channel[FromRender](100)
        self._to_render, self._from_farm = trio.open_memory_channel[FromServer](room)
        self.closed = trio.Event()
        self.seq = 0

    # The farm's end

    def can_register(self, name: str) -> bool:
        return not self._names or name == self._names

    async def receive(self) -> FromRender:
        try:
            return await self._from_render.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise LinkLost("gone") from None

    async def send(self, message: FromServer) -> None:
        try:
            await self._to_render.send(message)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise LinkLost("gone") from None

    async def aclose(self) -> None:
        self._from_render.close()
        self._to_render.close()
        self.closed.set()
        await trio.lowlevel.checkpoint()

    # The render's end

    async def say(self, message: FromRender) -> None:
        await self._to_farm.send(message)

    async def expect(self, kind: type[_T]) -> _T:
        """The next message, acknowledgements of updates aside unless they are wanted."""
        while True:
            message = await self._from_farm.receive()
            if isinstance(message, kind):
                return message
            assert isinstance(message, Ack), message

    async def register(self, name: str = "a", **fields: object) -> Registered | Refused:
        message = Register(name=name, max_tasks=10, capacity=1000)
        await self.say(with_fields(message, fields))
        answer = await self._from_farm.receive()
        assert isinstance(answer, Registered | Refused)
        return answer

    async def update(self, *tasks: TaskUpdate, **fields: object) -> None:
        self.seq += 1
        await self.say(with_fields(Update(seq=self.seq, tasks=tasks), fields))

    def nothing(self) -> bool:
        """Whether no message waits for the render."""
        return self._from_farm.statistics().current_buffer_used == 0

    def cut(self) -> None:
        """Lose the connection, both ways at once."""
        self._to_farm.close()
        self._from_farm.close()
