"""A farm's state without I/O, renders that drive it, and a link made of two channels."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TypeVar

import attrs
import trio

from trio_afrender.errors import LinkLost
from trio_afrender.farm import (
    BlockSpec,
    FarmSettings,
    JobSpec,
    JobView,
    TaskSpec,
    TaskView,
    job_edits,
    renders,
    scheduler,
    transitions,
    user_edits,
    user_requests,
    why_waiting,
)
from trio_afrender.farm.model import RenderState
from trio_afrender.farm.node_log import Actor
from trio_afrender.farm.snapshots import view_job, view_render
from trio_afrender.farm.state import AttemptOutput, FarmState, LogText, OutgoingMessages
from trio_afrender.farm.store import MemoryFarmStore
from trio_afrender.farm.task_bits import job_bits, state_text, task_bits
from trio_afrender.farm.updates import apply_update
from trio_afrender.jobs.views import RenderView
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
    "ADMIN",
    "FakeLink",
    "FakeRender",
    "FarmHarness",
    "frames",
    "listed",
    "make_update",
    "one_job",
    "with_fields",
)

ADMIN = Actor(user_name="boss", host_name="w1", admin=True)
Done = TaskStatus.FinishedSuccess
_T = TypeVar("_T")


def with_fields(value: _T, fields: Mapping[str, object]) -> _T:
    """A copy of a frozen value with some fields changed."""
    # There is no type for "an instance of a class of attrs".
    return attrs.evolve(value, **fields)  # type: ignore[misc]  # as above


def one_job(*blocks: BlockSpec, **fields: object) -> JobSpec:
    return with_fields(JobSpec(blocks=blocks or (listed(1),)), fields)


def listed(count: int = 1, **fields: object) -> BlockSpec:
    """A block of so many tasks. Its capacity lets a render take several."""
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


class FarmHarness:
    """A farm's state at a time that the test sets.

    Users' requests and messages of renders go to the functions over `FarmState`, then tasks are
    handed out, as `Farm` does it. What the state wants sent and stored is collected.
    """

    def __init__(self, **settings: float) -> None:
        self.store = MemoryFarmStore()
        numbers = itertools.count(1)
        self.now = 0.0
        self.state = FarmState(
            texts=self.store,
            settings=with_fields(FarmSettings(), settings),
            wall=lambda: 1_000_000.0 + self.now,
            make_run=lambda: f"run{next(numbers)}",
        )
        self.sessions = itertools.count(1)
        self.outgoing = OutgoingMessages()

    def assign(self) -> None:
        """Hand out tasks."""
        scheduler.assign(self.state, self.now)

    # Users

    def submit(self, spec: JobSpec) -> int:
        job = transitions.submit(self.state, spec, self.now)
        self.assign()
        return job.id

    def job(self, *blocks: BlockSpec, **fields: object) -> int:
        return self.submit(one_job(*blocks, **fields))

    def stop_task(self, key: TaskKey, reason: str) -> None:
        user_requests.stop_task(self.state, self.state.find_task(key), reason, self.now)
        self.assign()

    def suspend_task(self, key: TaskKey, reason: str) -> bool:
        return user_requests.suspend_task(self.state, self.state.find_task(key), reason)

    def end_job(self, job: int, reason: str, *, stop: bool) -> None:
        user_requests.end_job(self.state, self.state.find_job(job), reason, self.now, stop=stop)
        self.assign()

    def forget_job(self, job: int) -> None:
        transitions.forget(self.state, self.state.find_job(job), self.now)

    def listen(self, key: TaskKey) -> bool:
        return user_requests.listen(self.state, self.state.find_task(key))

    def unlisten(self, key: TaskKey) -> None:
        user_requests.unlisten(self.state, self.state.find_task(key))

    def ask_output(self, key: TaskKey) -> str | None:
        return user_requests.ask_output(self.state, self.state.find_task(key))

    def instruct(self, name: str, instruction: str, command: str = "") -> None:
        user_requests.instruct(self.state, name, instruction, command)

    def change_settings(self, settings: FarmSettings) -> None:
        user_requests.change_settings(self.state, settings)

    def why_waiting(self, job: int) -> tuple[str, ...]:
        return why_waiting.why_waiting(self.state, self.state.find_job(job), self.now)

    def edit(self, job: int, params: Mapping[str, object], actor: Actor = ADMIN) -> None:
        """Set parameters of a job."""
        job_edits.edit_job(self.state, self.state.jobs[job], params, actor, self.now)
        self.assign()

    def edit_blocks(
        self, job: int, blocks: Sequence[int], params: Mapping[str, object], actor: Actor = ADMIN
    ) -> None:
        found = self.state.jobs[job]
        job_edits.edit_blocks(self.state, found, blocks, params, actor, self.now)
        self.assign()

    def operate(self, job: int, kind: str, /, actor: Actor = ADMIN, **fields: object) -> object:
        """Apply an operation to a whole job."""
        operation = {"type": kind, **fields}
        found = self.state.jobs[job]
        reply = job_edits.operate_job(self.state, found, operation, actor, self.now)
        self.assign()
        return reply

    def operate_blocks(
        self, job: int, blocks: Sequence[int], kind: str, /, actor: Actor = ADMIN, **fields: object
    ) -> object:
        found = self.state.jobs[job]
        operation = {"type": kind, **fields}
        reply = job_edits.operate_blocks(self.state, found, blocks, operation, actor, self.now)
        self.assign()
        return reply

    def edit_user(self, name: str, params: Mapping[str, object], actor: Actor = ADMIN) -> None:
        user_edits.edit_user(self.state, self.state.users[name], params, actor, self.now)
        self.assign()

    def operate_user(self, name: str, kind: str, /, actor: Actor = ADMIN, **fields: object) -> None:
        operation = {"type": kind, **fields}
        user_edits.operate_user(self.state, self.state.users[name], operation, actor, self.now)
        self.assign()

    def bits(self, job: int, block: int = 0) -> list[str]:
        """The words of each task of a block."""
        tasks = self.state.jobs[job].blocks[block].tasks
        return [state_text(task_bits(task)) for task in tasks]

    def job_words(self, job: int) -> str:
        return state_text(job_bits(self.state.jobs[job]))

    # Renders and the clock

    def render(self, name: str = "a", /, **fields: object) -> FakeRender:
        """A render that has registered."""
        render = FakeRender(self, name, fields)
        answer = render.register()
        assert isinstance(answer, Registered)
        return render

    def pass_time(self, seconds: float) -> None:
        """Let time pass, calling `tick` whenever it is due."""
        end = self.now + seconds
        while self.state.due <= end:
            self.now = max(self.now, self.state.due)
            before = self.state.due
            renders.tick(self.state, self.now)
            self.assign()
            assert self.state.due > before, "the clock would spin"
        self.now = end

    def collect(self) -> OutgoingMessages:
        """Everything the state has wanted sent so far; its texts are stored."""
        fresh = self.state.take_outgoing()
        self.store.write(fresh.writes)
        for field in (
            "writes",
            "listened",
            "answers",
            "ended_runs",
            "ended_tasks",
            "packets",
            "drop_sessions",
        ):
            getattr(self.outgoing, field).extend(getattr(fresh, field))
        self.outgoing.wake |= fresh.wake
        return self.outgoing

    # Views

    def view(self, job: int) -> JobView:
        self.collect()
        return view_job(self.state.find_job(job), self.store)

    def renders(self) -> tuple[RenderView, ...]:
        return tuple(map(view_render, self.state.renders.values()))

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
    """The side of a render, without a link: takes events, sends updates."""

    def __init__(self, farm: FarmHarness, name: str, fields: Mapping[str, object]) -> None:
        self.farm = farm
        self.name = name
        self.fields = {"max_tasks": 10, "capacity": 1000, **fields}
        self.session = 0
        self.seq = 0
        self.tasks: dict[str, TaskExec] = {}
        self.events: list[Events] = []

    @property
    def state(self) -> RenderState:
        """What the farm knows of this render."""
        return self.farm.state.renders[self.name]

    def register(
        self, *, running: Sequence[TaskExec] = (), undelivered: Sequence[TaskExec] = ()
    ) -> Registered | Refused:
        message = Register(name=self.name, running=tuple(running), undelivered=tuple(undelivered))
        message = with_fields(message, self.fields)
        session = next(self.farm.sessions)
        answer = renders.register(self.farm.state, message, session, "peer", self.farm.now)
        self.farm.assign()
        if isinstance(answer, Registered):
            self.session = session
        return answer

    def take(self) -> list[TaskExec]:
        """The tasks assigned since the last call. Other events are collected as well."""
        fresh: list[TaskExec] = []
        while events := renders.take_events(self.farm.state, self.state, self.session):
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
        """Send an update and have its runs closed, as `run_session` does."""
        self.seq += 1
        update = with_fields(Update(seq=self.seq, tasks=tasks), fields)
        state, now = self.farm.state, self.farm.now
        renders.seen(state, self.state, self.session, now, busy=False)
        closes = apply_update(state, self.state, self.session, update, now)
        self.farm.assign()
        renders.close_runs(state, self.state, self.session, closes)
        return closes

    def end(self, task: TaskExec, status: TaskStatus = Done, **fields: object) -> None:
        """Send an outcome, which has to be closed."""
        closes = self.send(make_update(task, status, **fields))
        assert [ref.run for ref in closes] == [task.run]
        self.tasks.pop(task.run, None)

    def cut(self) -> None:
        renders.unlink(self.farm.state, self.state, self.session, self.farm.now)
        self.farm.assign()

    def leave(self, reason: str = "") -> None:
        renders.deregister(self.farm.state, self.state, self.session, reason, self.farm.now)
        self.farm.assign()


class FakeLink:
    """A `ServerLink` of two memory channels, whose other end the test uses."""

    def __init__(self, peer: str = "memory", *, names: str = "", capacity: int = 100) -> None:
        self.peer = peer
        self._names = names
        self._to_farm, self._from_render = trio.open_memory_channel[FromRender](100)
        self._to_render, self._from_farm = trio.open_memory_channel[FromServer](capacity)
        self.closed = trio.Event()
        self.seq = 0

    # The farm's end: `ServerLink`

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

    async def send_to_farm(self, message: FromRender) -> None:
        await self._to_farm.send(message)

    async def expect(self, kind: type[_T]) -> _T:
        """The next message of a type. Acknowledgements before it are skipped."""
        while True:
            message = await self._from_farm.receive()
            if isinstance(message, kind):
                return message
            assert isinstance(message, Ack), message

    async def register(self, name: str = "a", **fields: object) -> Registered | Refused:
        message = Register(name=name, max_tasks=10, capacity=1000)
        await self.send_to_farm(with_fields(message, fields))
        answer = await self._from_farm.receive()
        assert isinstance(answer, Registered | Refused)
        return answer

    async def update(self, *tasks: TaskUpdate, **fields: object) -> None:
        self.seq += 1
        await self.send_to_farm(with_fields(Update(seq=self.seq, tasks=tasks), fields))

    def nothing(self) -> bool:
        """Whether no message waits for the render."""
        return self._from_farm.statistics().current_buffer_used == 0

    def cut(self) -> None:
        """Lose the connection in both directions."""
        self._to_farm.close()
        self._from_farm.close()
