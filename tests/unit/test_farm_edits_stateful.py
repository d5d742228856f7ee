"""Any order of edits, operations, outcomes and restarts leaves counts that agree with the states.

Each step also writes the changed rows of the database; what a farm made of these rows would be is
compared with the farm itself, so that a change that is not noted for the database is found.
"""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.farm import (
    ADMIN,
    FakeRender,
    FarmHarness,
    frames,
    listed,
    make_update,
    one_job,
    with_fields,
)
from support.records import MemoryRecords, find_differences, show_records

from trio_afrender.errors import EditRefused
from trio_afrender.farm import JobSpec
from trio_afrender.farm.model import Job, TaskState
from trio_afrender.farm.record_rows import make_rows, restore
from trio_afrender.farm.state import FarmState
from trio_afrender.farm.task_bits import TaskBit, summarize
from trio_afrender.farm.transitions import order_key
from trio_afrender.protocol.messages import (
    Refused,
    TaskExec,
    TaskKey,
    TaskStatus,
)

NAMES = ("a", "b")
USERS = ("joe", "ann")
OF_JOB = (
    "start", "pause", "stop", "restart", "restart_errors", "restart_running", "restart_skipped",
    "restart_done", "restart_warnings", "restart_pause", "reset_error_hosts",
    "reset_trying_next_tasks",
)  # fmt: skip
OF_BLOCKS = ("skip", "done", "suspend", "continue", "restart", "restart_errors", "restart_done")
JOB_EDITS: tuple[dict[str, object], ...] = (
    {"priority": 0},
    {"priority": 7},
    {"priority": 9, "annotation": "x"},
    {"max_running_tasks": 1},
    {"max_running_tasks": -1, "max_tasks_per_second": 1},
    {"max_tasks_per_second": -1},
    {"hosts_mask": "b"},
    {"hosts_mask": ""},
    {"depend_mask": "x"},
    {"depend_mask": ""},
    {"depend_mask_global": "y"},
    {"depend_mask_global": ""},
    {"time_wait": 1_000_010},
    {"time_wait": 0},
    {"user_name": "ann"},
    {"user_name": "joe"},
    {"offline": True},
    {"ppa": True},
    {"ppa": False},
    {"time_life": 60},
    {"time_life": -1},
)
BLOCK_EDITS: tuple[dict[str, object], ...] = (
    {"capacity": 500},
    {"capacity": 1},
    {"sequential": -1},
    {"sequential": 2},
    {"errors_retries": 0},
    {"errors_avoid_host": 1},
    {"depend_mask": "b0"},
    {"depend_mask": ""},
    {"tasks_depend_mask": "b0"},
    {"tasks_depend_mask": ""},
    {"name": "b0"},
    {"task_max_run_time": 5},
    {"task_max_run_time": 0, "max_running_tasks": 1},
)
USER_EDITS: tuple[dict[str, object], ...] = (
    {"paused": True},
    {"paused": False},
    {"priority": 0},
    {"priority": 50},
    {"max_running_tasks": 2},
    {"max_running_tasks": -1},
    {"errors_retries": 3},
)
STATUSES = [TaskStatus.FinishedSuccess, TaskStatus.FinishedError, TaskStatus.Warning,
            TaskStatus.Skip, TaskStatus.GiveBack, TaskStatus.FinishedParserFatalError,
            TaskStatus.Percent]  # fmt: skip


@st.composite
def specs(draw: st.DrawFn) -> JobSpec:
    blocks = []
    for number in range(draw(st.integers(1, 3))):
        count = draw(st.integers(1, 4))
        block = frames(1, count) if draw(st.booleans()) else listed(count)
        mask = "|".join(f"b{i}" for i in range(number) if draw(st.booleans()))
        key = draw(st.sampled_from(["depend_mask", "tasks_depend_mask"]))
        blocks.append(with_fields(block, {"name": f"b{number}", key: mask}))
    return one_job(
        *blocks, user_name=draw(st.sampled_from(USERS)), name=draw(st.sampled_from("xy"))
    )


class EditMachine(RuleBasedStateMachine):
    """Users who do anything, and renders that follow the protocol."""

    def __init__(self) -> None:
        super().__init__()
        self.farm = FarmHarness(errors_retries=1, zombie_time=10.0)
        self.farm.state.unstored.collect()
        self.records = MemoryRecords()
        self.renders = {name: FakeRender(self.farm, name, {"max_tasks": 3}) for name in NAMES}
        self.online: set[str] = set()
        self.ended: dict[str, TaskExec] = {}

    @property
    def jobs(self) -> list[Job]:
        return list(self.farm.state.jobs.values())

    def attempt(self, change: Callable[[], object]) -> None:
        """Make a change that may be refused; then it has changed nothing."""
        before = show_records(self.farm.state)
        try:
            change()
        except EditRefused:
            different = find_differences(show_records(self.farm.state), before)
            assert not different, different

    # Users

    @precondition(lambda self: len(self.jobs) < 4)
    @rule(spec=specs())
    def submit(self, spec: JobSpec) -> None:
        self.farm.submit(spec)

    @precondition(lambda self: self.jobs)
    @rule(pick=st.integers(0, 3), kind=st.sampled_from(OF_JOB))
    def operate(self, pick: int, kind: str) -> None:
        job = self.jobs[pick % len(self.jobs)].id
        self.attempt(lambda: self.farm.operate(job, kind))

    @precondition(lambda self: self.jobs)
    @rule(
        pick=st.integers(0, 3),
        block=st.integers(0, 3),
        kind=st.sampled_from(OF_BLOCKS),
        tasks=st.none() | st.lists(st.integers(0, 3), max_size=3),
    )
    def operate_blocks(self, pick: int, block: int, kind: str, tasks: list[int] | None) -> None:
        job = self.jobs[pick % len(self.jobs)].id
        fields: dict[str, object] = {} if tasks is None else {"task_ids": tasks}
        self.attempt(lambda: self.farm.operate_blocks(job, [block], kind, ADMIN, **fields))

    @precondition(lambda self: self.jobs)
    @rule(
        pick=st.integers(0, 3), task=st.integers(0, 3), mode=st.sampled_from(["append", "remove"])
    )
    def try_next(self, pick: int, task: int, mode: str) -> None:
        job = self.jobs[pick % len(self.jobs)].id
        operate = self.farm.operate_blocks
        self.attempt(lambda: operate(job, [0], "trynext", task_ids=[task], mode=mode))

    @precondition(lambda self: self.jobs)
    @rule(pick=st.integers(0, 3), whole=st.booleans())
    def append(self, pick: int, whole: bool) -> None:
        job = self.jobs[pick % len(self.jobs)]
        if sum(len(block.tasks) for block in job.blocks) > 12:
            return
        tasks = [{"name": "more", "command": "x"}]
        if whole:
            block = {"name": "b9", "tasks": tasks, "capacity": 100, "depend_mask": "b0"}
            self.attempt(lambda: self.farm.operate(job.id, "append_blocks", blocks=[block]))
        else:
            operate = self.farm.operate_blocks
            self.attempt(lambda: operate(job.id, [0], "append_tasks", tasks=tasks))

    @precondition(lambda self: self.jobs)
    @rule(pick=st.integers(0, 3), params=st.sampled_from(JOB_EDITS))
    def edit(self, pick: int, params: dict[str, object]) -> None:
        job = self.jobs[pick % len(self.jobs)].id
        self.attempt(lambda: self.farm.edit(job, params))

    @precondition(lambda self: self.jobs)
    @rule(pick=st.integers(0, 3), block=st.integers(0, 2), params=st.sampled_from(BLOCK_EDITS))
    def edit_blocks(self, pick: int, block: int, params: dict[str, object]) -> None:
        job = self.jobs[pick % len(self.jobs)].id
        self.attempt(lambda: self.farm.edit_blocks(job, [block], params))

    @rule(
        name=st.sampled_from(USERS),
        params=st.sampled_from(USER_EDITS),
    )
    def edit_user(self, name: str, params: dict[str, object]) -> None:
        if name in self.farm.state.users:
            self.attempt(lambda: self.farm.edit_user(name, params))

    @rule(name=st.sampled_from(USERS), where=st.sampled_from(["up", "down", "top", "bottom"]))
    def move_jobs(self, name: str, where: str) -> None:
        user = self.farm.state.users.get(name)
        if user is not None and user.jobs:
            job = max(user.jobs)
            self.attempt(lambda: self.farm.operate_user(name, f"move_jobs_{where}", jids=[job]))

    @precondition(lambda self: self.jobs)
    @rule(pick=st.integers(0, 3))
    def delete(self, pick: int) -> None:
        job = self.jobs[pick % len(self.jobs)].id
        self.attempt(lambda: self.farm.operate(job, "delete"))

    @precondition(lambda self: self.jobs)
    @rule(pick=st.integers(0, 3), task=st.integers(0, 2))
    def stop_task(self, pick: int, task: int) -> None:
        job = self.jobs[pick % len(self.jobs)]
        if task < len(job.blocks[0].tasks):
            self.farm.stop_task(TaskKey(job.id, 0, task), "asked")

    @precondition(lambda self: self.jobs)
    @rule(pick=st.integers(0, 3), stop=st.booleans())
    def end_job(self, pick: int, stop: bool) -> None:
        job = self.jobs[pick % len(self.jobs)].id
        self.farm.end_job(job, "asked", stop=stop)

    # Renders

    @rule(name=st.sampled_from(NAMES), forget=st.booleans())
    def register(self, name: str, forget: bool) -> None:
        if name in self.online:
            return
        render = self.renders[name]
        if forget:
            render.tasks.clear()
        answer = render.register(running=list(render.tasks.values()))
        assert not isinstance(answer, Refused)
        self.online.add(name)
        for run in answer.stop:
            render.tasks.pop(run, None)
        self.read(name)

    @rule(name=st.sampled_from(NAMES))
    def read(self, name: str) -> None:
        if name not in self.online:
            return
        render = self.renders[name]
        render.take()
        for run in render.closed():
            render.tasks.pop(run, None)
        for ref in render.stops():
            if ref.run in render.tasks:
                render.end(render.tasks[ref.run], TaskStatus.FinishedKilled)
        render.events.clear()

    @rule(name=st.sampled_from(NAMES), pick=st.integers(0, 5), status=st.sampled_from(STATUSES))
    def report(self, name: str, pick: int, status: TaskStatus) -> None:
        render = self.renders[name]
        if name not in self.online or not render.tasks:
            return
        task = list(render.tasks.values())[pick % len(render.tasks)]
        if status.terminal:
            render.end(task, status, output="x")
        else:
            render.send(make_update(task, status, percent=pick))

    @rule(name=st.sampled_from(NAMES), leave=st.booleans())
    def cut(self, name: str, leave: bool) -> None:
        if name in self.online:
            if leave:
                self.renders[name].leave()
                self.renders[name].tasks.clear()
            else:
                self.renders[name].cut()
            self.online.discard(name)

    @rule(seconds=st.sampled_from([0.5, 3.0, 9.0, 11.0]), alive=st.booleans())
    def pass_time(self, seconds: float, alive: bool) -> None:
        if alive:
            for name in self.online:
                self.renders[name].send()
        self.farm.pass_time(seconds)
        for session in self.farm.collect().drop_sessions:
            self.online -= {name for name in NAMES if self.renders[name].session == session}

    # What must hold after each step

    @invariant()
    def counts_are_those_of_the_states(self) -> None:
        state = self.farm.state
        ready = 0
        running: dict[str, int] = {}
        for job in self.jobs:
            for block in job.blocks:
                states = [task.state for task in block.tasks]
                assert all(block.counts[each] == states.count(each) for each in TaskState)
                ready += states.count(TaskState.READY)
                in_heap = {number for _, number in block.ready}
                assert {t.key.task for t in block.tasks if t.state is TaskState.READY} <= in_heap
            for each in TaskState:
                assert job.counts[each] == sum(block.counts[each] for block in job.blocks)
            name = job.user.name
            running[name] = running.get(name, 0) + job.counts[TaskState.RUNNING]
            assert job.user.jobs[job.id] is job
        assert state.ready == ready
        for user in state.users.values():
            assert user.running == running.get(user.name, 0) == sum(user.running_on.values())
        runs = [run for render in state.renders.values() for run in render.running.values()]
        assert sorted(run.key for run in runs) == sorted(
            task.key for job in self.jobs for b in job.blocks for task in b.tasks if task.run
        )

    @invariant()
    def tasks_wait_for_what_is_not_done(self) -> None:
        for job in self.jobs:
            for block in job.blocks:
                assert block.waits == sum(not job.blocks[i].done for i in block.waits_for)
                for task in block.tasks:
                    assert (task.run is not None) == (task.state is TaskState.RUNNING)
                    waits = (
                        job.held
                        or block.waits
                        or (task.group is not None and task.group.waits)
                        or task.marks & TaskBit.SUS
                    )
                    if task.state in (TaskState.WAITING, TaskState.READY):
                        assert (task.state is TaskState.WAITING) == bool(waits)

    @invariant()
    def jobs_are_over_with_their_tasks(self) -> None:
        state = self.farm.state
        for job in self.jobs:
            assert job.over == all(task.state.over for b in job.blocks for task in b.tasks)
            assert job.over == (job not in state.order)
            assert [task for task in job.try_next if not task.marks & TaskBit.TRY] == []
            assert not (job.over and job.deleting)
        assert state.order == sorted(state.order, key=order_key)

    @invariant()
    def summaries_that_are_kept_are_right(self) -> None:
        for job in self.jobs:
            for block in job.blocks:
                kept, block.summary = block.summary, None
                assert kept in (None, summarize(block))

    @invariant()
    def the_database_has_all_of_it(self) -> None:
        state, now = self.farm.state, self.farm.now
        self.records.write(make_rows(state, state.unstored.take(), now))
        copy = FarmState(texts=self.farm.store, settings=state.settings, wall=state.wall)
        restore(copy, self.records.read(), now)
        different = find_differences(show_records(copy), show_records(state))
        assert not different, different

    def teardown(self) -> None:
        """With all that holds tasks back undone, every job ends."""
        for user in self.farm.state.users:
            self.farm.edit_user(user, {"paused": False, "priority": 9, "max_running_tasks": -1})
        free = {"priority": 1, "max_running_tasks": -1, "max_tasks_per_second": -1, "ppa": False,
                "hosts_mask": "", "depend_mask": "", "depend_mask_global": "", "time_wait": 0,
                "offline": False, "time_life": -1}  # fmt: skip
        for job in self.jobs:
            if not job.deleting:
                self.farm.edit(job.id, free)
                blocks = list(range(len(job.blocks)))
                limits = {"max_running_tasks": -1, "task_max_run_time": 0, "capacity": 1}
                self.farm.edit_blocks(job.id, blocks, limits)
                self.farm.operate_blocks(job.id, blocks, "continue")
        for _ in range(300):
            if all(job.over for job in self.jobs):
                break
            for name in NAMES:
                self.register(name, forget=False)
                self.read(name)
                for task in list(self.renders[name].tasks.values()):
                    self.renders[name].end(task)
                self.read(name)
            self.pass_time(1.0, alive=True)
        open_jobs = [job.id for job in self.jobs if not job.over]
        assert not open_jobs, [self.farm.why_waiting(job) for job in open_jobs]


EditMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
TestEdits = EditMachine.TestCase
