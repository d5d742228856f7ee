"""Any order of events leaves the farm in a valid state, and every task reaches a final state."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.farm import FakeRender, FarmHarness, make_update, with_fields

from trio_afrender.farm import BlockSpec, HostNeeds, JobSpec, TaskSpec
from trio_afrender.farm.model import TaskState
from trio_afrender.protocol.messages import (
    BlockFlags,
    LogEntry,
    Refused,
    Registered,
    TaskExec,
    TaskKey,
    TaskStatus,
)

NAMES = ("a", "b", "c")
SPECS: dict[str, dict[str, object]] = {
    "a": {"capacity": 1000, "max_tasks": 3},
    "b": {"capacity": 500, "max_tasks": 99},
    "c": {"capacity": 2000, "max_tasks": 1, "services": ("generic",)},
}
TERMINAL = [status for status in TaskStatus if status.terminal]

needs = st.builds(HostNeeds, max_running_tasks=st.sampled_from([-1, -1, 1, 2]))
block_shapes = st.builds(
    lambda numeric, count, per_task, **fields: BlockSpec(
        flags=BlockFlags.NUMERIC if numeric else 0,
        frame_first=1,
        frame_last=count,
        frames_per_task=per_task,
        tasks=() if numeric else (TaskSpec(),) * count,
        **fields,
    ),
    numeric=st.booleans(),
    count=st.integers(1, 5),
    per_task=st.integers(1, 2),
    capacity=st.sampled_from([1, 200, 500]),
    sequential=st.integers(-3, 3),
    errors_retries=st.integers(-1, 2),
    task_max_run_time=st.sampled_from([0, 0, 5]),
    needs=needs,
)


@st.composite
def jobs(draw: st.DrawFn) -> JobSpec:
    """Blocks that depend on earlier blocks, as a whole or by frames."""
    blocks: list[BlockSpec] = []
    for shape in draw(st.lists(block_shapes, min_size=1, max_size=4)):
        mask = "|".join(f"b{i}" for i in range(len(blocks)) if draw(st.booleans()))
        key = draw(st.sampled_from(["depend_mask", "tasks_depend_mask"]))
        blocks.append(with_fields(shape, {"name": f"b{len(blocks)}", key: mask}))
    priority = draw(st.integers(1, 3))
    name, mask = draw(st.sampled_from(["x", "y"])), draw(st.sampled_from(["", "", "x"]))
    return JobSpec(name=name, depend_mask=mask, priority=priority, blocks=tuple(blocks))


class FarmMachine(RuleBasedStateMachine):
    """Renders that do anything the protocol allows, and some things that it does not."""

    def __init__(self) -> None:
        super().__init__()
        self.farm = FarmHarness(errors_retries=1, zombie_time=10.0)
        self.renders = {name: FakeRender(self.farm, name, SPECS[name]) for name in NAMES}
        self.online: set[str] = set()
        self.undelivered: dict[str, dict[str, TaskExec]] = {name: {} for name in NAMES}
        self.jobs: list[int] = []
        self.ends: dict[TaskKey, str] = {}

    @precondition(lambda self: len(self.jobs) < 4)
    @rule(spec=jobs())
    def submit(self, spec: JobSpec) -> None:
        self.jobs.append(self.farm.submit(spec))

    @rule(name=st.sampled_from(NAMES), forget=st.booleans())
    def register(self, name: str, forget: bool) -> None:
        render = self.renders[name]
        if forget and name not in self.online:  # The agent was killed and lost its store.
            render.tasks.clear()
            self.undelivered[name].clear()
        lost = self.undelivered[name]
        running = [task for run, task in render.tasks.items() if run not in lost]
        answer = render.register(running=running, undelivered=list(lost.values()))
        if isinstance(answer, Refused):
            assert name in self.online
            return
        assert isinstance(answer, Registered)
        assert set(answer.resume).isdisjoint(answer.stop)
        self.online.add(name)
        for run in answer.stop:
            render.tasks.pop(run, None)
            self.undelivered[name].pop(run, None)
        self.read(name)

    @rule(name=st.sampled_from(NAMES))
    def read(self, name: str) -> None:
        """Take pending events: new tasks, then closes."""
        if name not in self.online:
            return
        render = self.renders[name]
        render.take()
        for run in render.closed():
            render.tasks.pop(run, None)
            self.undelivered[name].pop(run, None)
        render.events.clear()

    @rule(
        name=st.sampled_from(NAMES),
        pick=st.integers(0, 9),
        status=st.sampled_from(list(TaskStatus)),
        took=st.integers(0, 3),
    )
    def report(self, name: str, pick: int, status: TaskStatus, took: int) -> None:
        render = self.renders[name]
        tasks = [t for run, t in render.tasks.items() if run not in self.undelivered[name]]
        if not tasks:
            return
        task = tasks[pick % len(tasks)]
        if status.terminal:
            self.undelivered[name][task.run] = task
        if name in self.online:
            log = (LogEntry(run=task.run, n=took, text=f"entry {task.run}.{took}\n"),)
            render.send(make_update(task, status, output="x"), log=log)

    @rule(name=st.sampled_from(NAMES), status=st.sampled_from(TERMINAL))
    def deliver_again(self, name: str, status: TaskStatus) -> None:
        """Deliver outcomes that are not closed once more, some with another status."""
        if name in self.online:
            for task in list(self.undelivered[name].values()):
                closes = self.renders[name].send(make_update(task, status))
                assert [ref.run for ref in closes] == [task.run]

    @rule(name=st.sampled_from(NAMES), other=st.sampled_from(NAMES))
    def report_for_another(self, name: str, other: str) -> None:
        """Report on the run of another render, which must change nothing."""
        if name in self.online and name != other:
            before = self.running()
            for task in self.renders[other].tasks.values():
                self.renders[name].send(make_update(task))
            assert self.running() == before

    @rule(name=st.sampled_from(NAMES))
    def cut(self, name: str) -> None:
        if name in self.online:
            self.renders[name].cut()
            self.online.discard(name)

    @rule(name=st.sampled_from(NAMES))
    def leave(self, name: str) -> None:
        if name in self.online:
            self.renders[name].leave()
            self.online.discard(name)

    @rule(seconds=st.sampled_from([0.5, 3.0, 9.0, 11.0]), alive=st.booleans())
    def pass_time(self, seconds: float, alive: bool) -> None:
        if alive:
            for name in self.online:
                self.renders[name].send()
        self.farm.pass_time(seconds)
        for session in self.farm.collect().drop_sessions:
            self.online -= {name for name in NAMES if self.renders[name].session == session}

    @precondition(lambda self: self.jobs)
    @rule(pick=st.integers(0, 3), block=st.integers(0, 1), task=st.integers(0, 2))
    def stop_task(self, pick: int, block: int, task: int) -> None:
        key = TaskKey(self.jobs[pick % len(self.jobs)], block, task)
        if any(view.key == key for view in self.farm.view(key.job).tasks):
            self.farm.stop_task(key, "asked")

    @precondition(lambda self: self.jobs)
    @rule(pick=st.integers(0, 3), stop=st.booleans())
    def end_job(self, pick: int, stop: bool) -> None:
        job = self.jobs[pick % len(self.jobs)]
        self.farm.end_job(job, "asked", stop=stop)

    def running(self) -> dict[str, TaskKey]:
        book = self.farm.state
        return {run.id: run.key for r in book.renders.values() for run in r.running.values()}

    @invariant()
    def renders_are_within_their_limits(self) -> None:
        for render in self.farm.state.renders.values():
            runs = render.running.values()
            assert render.capacity_used == sum(run.capacity for run in runs)
            resumed = any(step.event == "resumed" for run in runs for step in run.task.why)
            if not resumed:  # Runs that a render resumes are accepted beyond its limits.
                assert render.capacity_used <= render.register.capacity
                assert len(runs) <= render.register.max_tasks

    @invariant()
    def no_task_runs_twice(self) -> None:
        keys = list(self.running().values())
        assert len(keys) == len(set(keys))
        for job in self.farm.state.jobs.values():
            for block in job.blocks:
                for task in block.tasks:
                    assert (task.run is not None) == (task.state is TaskState.RUNNING)
                    if task.run is not None:
                        assert task.run.render.running[task.run.id] is task.run
                        assert not task.run.over
                        assert not task.run.lost

    @invariant()
    def counts_are_correct(self) -> None:
        book = self.farm.state
        ready = 0
        for job in book.jobs.values():
            for block in job.blocks:
                states = [task.state for task in block.tasks]
                for state in TaskState:
                    assert block.counts[state] == states.count(state)
                limit = block.spec.needs.max_running_tasks
                resumed = any(s.event == "resumed" for t in block.tasks for s in t.why)
                assert resumed or limit < 0 or block.counts[TaskState.RUNNING] <= limit
                ready += states.count(TaskState.READY)
                in_heap = {task for _, task in block.ready}
                assert {t.key.task for t in block.tasks if t.state is TaskState.READY} <= in_heap
            for state in TaskState:
                assert job.counts[state] == sum(block.counts[state] for block in job.blocks)
            assert job.over == all(task.state.over for b in job.blocks for task in b.tasks)
            assert job.over == (job not in book.order)
        assert book.ready == ready

    @invariant()
    def what_is_over_stays_over(self) -> None:
        for job in self.jobs:
            for view in self.farm.view(job).tasks:
                if view.key in self.ends:
                    assert view.state == self.ends[view.key]
                elif TaskState(view.state).over:
                    self.ends[view.key] = view.state

    @invariant()
    def blocks_wait_for_what_they_depend_on(self) -> None:
        for job in self.farm.state.jobs.values():
            for block in job.blocks:
                if block.waits:
                    states = {task.state for task in block.tasks}
                    assert states <= {TaskState.WAITING, TaskState.KILLED}

    @invariant()
    def entries_are_applied_once(self) -> None:
        for job in self.jobs:
            for view in self.farm.view(job).tasks:
                lines = [line for line in view.log.splitlines() if line.startswith("entry")]
                assert len(lines) == len(set(lines))

    def teardown(self) -> None:
        """Let the renders follow the protocol from here on: they finish all tasks."""
        for name in NAMES:
            self.register(name, forget=False)
        for _ in range(500):
            for number in self.jobs:
                before = self.farm.state.find_job(number).before
                if any(other.over and other.state != "done" for other in before):
                    self.farm.end_job(number, "it waits for a job that failed", stop=True)
            if all(self.farm.state.find_job(job).over for job in self.jobs):
                break
            for name in NAMES:
                if name not in self.online:
                    self.register(name, forget=False)
                self.read(name)
                for task in list(self.renders[name].tasks.values()):
                    self.renders[name].send(make_update(task))
                self.read(name)
                self.renders[name].send()
            self.pass_time(1.0, alive=True)
        for job in self.jobs:
            assert self.farm.state.find_job(job).over, self.farm.view(job)
        assert not self.running()


FarmMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=40,
)
TestFarm = FarmMachine.TestCase
