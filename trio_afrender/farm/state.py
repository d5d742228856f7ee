"""Everything the farm knows, and the small steps that keep its counts right. No I/O.

`FarmState` changes by functions over it: `renders` and `updates` apply what renders send,
`transitions` and `user_requests` what users ask, `scheduler.assign` hands out tasks after either.
None of them waits, so each call is atomic. What has to be done outside is collected in
`FarmState.outgoing`; `farm.farm` takes it after each call. Times are seconds on any clock that the
caller chooses, never Unix time.
"""

from __future__ import annotations

import heapq
import math
import secrets
from collections.abc import Callable
from typing import Protocol

import attrs

from trio_afrender.farm.auto_nimby import LoadWatch
from trio_afrender.farm.changes import Changes
from trio_afrender.farm.model import Block, Job, RenderState, Run, Task, TaskState, User
from trio_afrender.farm.node_log import NodeLog
from trio_afrender.farm.render_parameters import PoolParameters
from trio_afrender.farm.render_states import Presence, RenderEvent, advance
from trio_afrender.farm.settings import FarmSettings
from trio_afrender.farm.task_bits import TaskBit
from trio_afrender.farm.unstored import Unstored
from trio_afrender.jobs.views import Texts
from trio_afrender.protocol.messages import Reason, TaskKey
from trio_afrender.text import utc_time

__all__ = (
    "AttemptOutput",
    "FarmState",
    "FileData",
    "LogText",
    "OutgoingMessages",
    "Removal",
    "StoredTexts",
    "WakePackets",
    "Write",
    "time_limits",
)

_TASK_EVENTS = (RenderEvent.TASKS, RenderEvent.NO_TASKS)
_TRY = TaskBit.TRY.value
_WHY_LIMIT = 200
"""Reasons kept of a task; its log has all of them."""


@attrs.frozen(slots=True)
class LogText:
    """Text for the end of a task's log."""

    key: TaskKey
    text: str


@attrs.frozen(slots=True)
class AttemptOutput:
    """The output of one attempt; a later one replaces it."""

    key: TaskKey
    attempt: int
    text: str


@attrs.frozen(slots=True)
class FileData:
    """A small file of a task, by base name."""

    key: TaskKey
    name: str
    data: bytes


@attrs.frozen(slots=True)
class Removal:
    """Removes all texts and files of a job. `key` is that of any of its tasks."""

    key: TaskKey


Write = LogText | AttemptOutput | FileData | Removal


class StoredTexts(Texts, Protocol):
    """The stored texts and files of a farm's tasks, as the farm itself reads them."""

    in_memory: bool
    """Whether calls return at once and need no thread. Under the mock clock of a test they must not
    run in one: the clock jumps while a thread is waited for."""

    def read_file(self, key: TaskKey, name: str) -> bytes:
        """Return a stored file of a task. Raises `OSError`."""
        ...


@attrs.frozen(slots=True)
class WakePackets:
    """Packets that wake a render: one for each MAC address."""

    render: str
    macs: tuple[str, ...]


@attrs.define(slots=True, eq=False)
class OutgoingMessages:
    """What has to be done outside: texts to store, users to notify, links to write to or close."""

    writes: list[Write] = attrs.field(factory=list)
    listened: list[tuple[TaskKey, str]] = attrs.field(factory=list)
    """New output of tasks that users listen to."""
    answers: list[tuple[str, str]] = attrs.field(factory=list)
    """(run id, output) that users asked for."""
    ended_runs: list[str] = attrs.field(factory=list)
    """Ids of runs that their renders no longer have: no answer will come for them."""
    ended_tasks: list[TaskKey] = attrs.field(factory=list)
    """Tasks that reached a final state."""
    wake: set[str] = attrs.field(factory=set)
    """Names of renders with something in their outbox."""
    packets: list[WakePackets] = attrs.field(factory=list)
    """Renders to be woken."""
    drop_sessions: list[int] = attrs.field(factory=list)
    """Sessions whose link must be closed."""
    changed: bool = False
    """Whether anything has changed that a view shows."""


@attrs.define(slots=True, eq=False, kw_only=True)
class FarmState:
    """Jobs, renders and runs of one farm.

    A *session* is one link of a render: a number that is never used again. Messages of a session
    that another one has superseded have no effect.
    """

    settings: FarmSettings
    wall: Callable[[], float]
    """Unix time, for timestamps only: deadlines follow the farm's own clock."""
    texts: StoredTexts
    make_run: Callable[[], str] = lambda: secrets.token_hex(12)
    """Makes the id of a run."""
    next_job: int = 2
    """Job 1 is the server's own job on an afserver."""
    time_creation: float = attrs.Factory(lambda self: self.wall(), takes_self=True)
    """Unix time."""
    next_render: int = 1
    next_user: int = 2
    """User 1 is the server's own user on an afserver."""
    users: dict[str, User] = attrs.field(factory=dict)
    """By name."""
    jobs: dict[int, Job] = attrs.field(factory=dict)
    renders: dict[str, RenderState] = attrs.field(factory=dict)
    runs: dict[str, Run] = attrs.field(factory=dict)
    """All runs of all jobs that are kept: a render may deliver an outcome late, or twice."""
    order: list[Job] = attrs.field(factory=list)
    """Jobs that are not over, in the order in which their tasks are assigned."""
    asleep: set[str] = attrs.field(factory=set)
    """Names of renders that can be woken for waiting tasks."""
    limited: dict[str, Run] = attrs.field(factory=dict)
    """Current runs with a time limit."""
    ready: int = 0
    """How many tasks are READY."""
    freed: set[str] = attrs.field(factory=set)
    """Names of renders that may have become able to take a task."""
    all_freed: bool = False
    """Whether any render may have become able to take any task."""
    fresh_blocks: set[Block] = attrs.field(factory=set)
    """Blocks with tasks that became ready: any render may take these."""
    avoided: bool = False
    """Whether a render was refused a task because of its errors and because another can run it."""
    retry_at: float = math.inf
    """When `all_freed` is to be set, because a block takes a render back then."""
    next_wake: float = 0.0
    """When a render may be woken for waiting tasks, after the last one."""
    throttled: bool = False
    """Whether a job has got no task because of its ``max_tasks_per_second``."""
    due: float = math.inf
    """When `renders.tick` has to be called at the latest. It may be early, never late."""
    pool: PoolParameters = attrs.field(factory=PoolParameters)
    """The pool "/", which all renders are in."""
    pool_log: NodeLog = attrs.field(factory=NodeLog)
    outgoing: OutgoingMessages = attrs.field(factory=OutgoingMessages)
    changes: Changes = attrs.field(factory=Changes)
    """For monitors of the JSON interface."""
    unstored: Unstored = attrs.field(factory=Unstored)
    """For the database."""

    def take_outgoing(self) -> OutgoingMessages:
        """Return what has to be done outside, collected since the last call."""
        taken, self.outgoing = self.outgoing, OutgoingMessages()
        return taken

    def find_job(self, job: int) -> Job:
        """Raises KeyError for an unknown job."""
        if job not in self.jobs:
            raise KeyError(f"no job {job}")
        return self.jobs[job]

    def make_user(self, name: str) -> User:
        """Return the user of that name, made now if there is none."""
        user = self.users.get(name)
        if user is None:
            now = self.wall()
            user = User(id=self.next_user, name=name, time_register=now, time_activity=now)
            self.users[name] = user
            self.next_user += 1
            self.changes.note_user(user.id, "add")
            self.unstored.note_user(user)
            user.node_log.add(now, f"afanasy: users: {name}: Registered.")
        return user

    def note_user(self, user: User) -> None:
        """Note a change of a user: its parameters, its log, how many jobs it has."""
        self.outgoing.changed = True
        self.changes.note_user(user.id, "change")
        self.unstored.note_user(user)

    def log_user(self, user: User, text: str) -> None:
        """Add a line to the log of a user."""
        user.node_log.add(self.wall(), text)
        self.note_user(user)

    def log_job(self, job: Job, text: str) -> None:
        """Add a line to the log of a job."""
        job.node_log.add(self.wall(), text)
        self.unstored.note_job(job)

    def mark_job(self, job: Job, *, spec: bool = False) -> None:
        """Note a change of a job as a whole; with `spec`, of what was submitted too."""
        job.view = None
        self.outgoing.changed = True
        self.unstored.note_job(job, spec=spec)

    def life_over(self, job: Job, now: float) -> bool:
        """Whether a job has to be deleted because of its age; if not yet, `tick` is called then."""
        life = job.spec.time_life if job.spec.time_life >= 0 else job.user.jobs_life_time
        if life <= 0 or job.deleting:
            return False
        left = job.created + life - self.wall()
        # A rest that the clocks cannot resolve would have `tick` called again at once, for ever.
        if left <= 0.001:
            return True
        self.check_by(now + left)
        return False

    def find_task(self, key: TaskKey) -> Task:
        """Raises KeyError for an unknown task."""
        job = self.find_job(key.job)
        if key.number == 0 and 0 <= key.block < len(job.blocks):
            tasks = job.blocks[key.block].tasks
            if 0 <= key.task < len(tasks):
                return tasks[key.task]
        raise KeyError(f"no task {key}")

    def throttle(self, job: Job, now: float) -> None:
        """Have tasks assigned again when a second ends in which a job has had all its starts."""
        self.throttled = True
        for owner in (job, job.user):
            if owner.starts.end > now:
                self.check_by(owner.starts.end)

    def check_by(self, when: float) -> None:
        """Have `renders.tick` called at `when` or earlier."""
        self.due = min(self.due, when)

    def retry_by(self, when: float) -> None:
        """Have all renders asked again at `when`."""
        self.retry_at = min(self.retry_at, when)
        self.check_by(self.retry_at)

    def touch(self, task: Task) -> None:
        """Drop the views of a task and its job, because something that they show has changed."""
        task.view = None
        task.block.summary = None
        task.block.job.view = None
        self.outgoing.changed = True
        self.changes.note_task(task.key)
        self.unstored.note_task(task)

    def wake(self, render: RenderState) -> None:
        """Have the outbox of a render sent."""
        self.outgoing.wake.add(render.name)

    def move_render(self, render: RenderState, event: RenderEvent) -> bool:
        """Apply an event to the states of a render; False if none of them has changed."""
        old, new = render.states, advance(render.states, event)
        if new == old:
            return False
        render.states = new
        self.unstored.note_render(render)
        if new.presence is not old.presence and event not in _TASK_EVENTS:
            render.wol_operation_time = self.wall()
            if new.presence is Presence.ASLEEP:
                self.asleep.add(render.name)
            else:
                self.asleep.discard(render.name)
        if event in _TASK_EVENTS:
            self._show_render(render)
        else:
            self.note_render(render)
        return True

    def note_render(self, render: RenderState) -> None:
        """Note a change of a render that a view shows; it may have become able to take a task."""
        self.freed.add(render.name)
        if self.avoided:
            # Others may avoid tasks only because this one could run them.
            self.all_freed = True
        self._show_render(render)

    def _show_render(self, render: RenderState) -> None:
        self.outgoing.changed = True
        self.changes.note_render(render.id, "change")

    def log_render(self, render: RenderState, text: str, what: str = "") -> None:
        """Add a line of the farm to a render's log, in the form of Afanasy's server."""
        what = f" {what}" if what else ""
        render.node_log.add(self.wall(), f"afanasy: renders{what}: {render.name}: {text}")
        self.unstored.note_render(render)

    def log(self, task: Task, text: str) -> None:
        """Add a line of the farm to a task's log, stored together with the next text."""
        task.unsaved += _line(self.wall(), text)

    def write_log(self, task: Task, text: str) -> None:
        """Have text appended to a task's log, behind the lines that wait."""
        text = task.unsaved + text
        task.unsaved = ""
        if text:
            self.outgoing.writes.append(LogText(task.key, text))

    def why(self, task: Task, event: str, text: str) -> None:
        """Add a step of the farm to the reasons of a task, and to its log."""
        step = Reason(time=self.wall(), event=event, text=text)
        self.add_why(task, (step,))
        self.log_why(task, (step,))

    def add_why(self, task: Task, steps: tuple[Reason, ...]) -> None:
        """Add steps to the reasons of a task, but not to its log."""
        task.why.extend(steps)
        del task.why[:-_WHY_LIMIT]
        self.touch(task)

    def log_why(self, task: Task, steps: tuple[Reason, ...]) -> None:
        """Append steps to a task's log."""
        lines = []
        for step in steps:
            pids = f" (pids {', '.join(map(str, step.pids))})" if step.pids else ""
            lines.append(_line(step.time, f"{step.event}: {step.text}{pids}"))
        self.write_log(task, "".join(lines))

    def set_state(self, task: Task, state: TaskState) -> None:
        """Move a task to another state and adapt all counts."""
        block, old = task.block, task.state
        if old is state:
            return
        for counts in (block.counts, block.job.counts):
            counts[old] -= 1
            counts[state] += 1
        if old is TaskState.READY:
            self.ready -= 1
        task.state = state
        if state is TaskState.READY:
            self.ready += 1
            self.fresh_blocks.add(block)
            number = task.key.task
            rank = number if block.ranks is None else block.ranks[number]
            heapq.heappush(block.ready, (rank, number))
        elif state.over:
            self.outgoing.ended_tasks.append(task.key)
            if task.marks & _TRY:
                task.marks &= ~_TRY
                block.job.try_next.remove(task)
                self.mark_job(block.job)
        self.touch(task)

    def log_run(self, run: Run, what: str) -> None:
        """Log the start or end of a run with its render, in the form of Afanasy's server."""
        block, number = run.task.block, run.key.task
        spec, job = block.spec, block.job.spec
        place = f"{job.name}[{spec.name}][{spec.task_name(number)}]"
        kind = f"[{spec.service}({spec.parser}):{spec.capacity}]"
        run.render.tasks_log.add(self.wall(), f"{what} task: {kind} {job.user_name}: {place}")

    def add_run(self, run: Run) -> None:
        """Make a run known until its job is dropped."""
        self.runs[run.id] = run
        run.task.block.job.run_ids.append(run.id)

    def attach(self, run: Run, now: float) -> None:
        """Make a run the current run of its task and its render."""
        task, render = run.task, run.render
        task.run = task.last_run = run
        run.lost = False
        run.progressed = now  # a lost run could not report any
        render.running[run.id] = run
        render.capacity_used += run.capacity
        task.block.running_on[render.name] += 1
        task.block.job.running_on[render.name] += 1
        task.block.job.user.running += 1
        task.block.job.user.running_on[render.name] += 1
        self.changes.note_user(task.block.job.user.id, "change")
        render.task_start_finish_time = self.wall()
        render.watch = LoadWatch()  # idle and busy are for a render without tasks
        if render.states.presence is not Presence.RUNNING:
            self.move_render(render, RenderEvent.TASKS)
        self.changes.note_render(render.id, "change")
        self.set_state(task, TaskState.RUNNING)
        limits = time_limits(run)
        if limits:
            self.limited[run.id] = run
            self.check_by(min(when for when, _ in limits))

    def detach(self, run: Run) -> None:
        """Remove a run from its render and its task. The caller then sets the task's state."""
        task, render = run.task, run.render
        block, job = task.block, task.block.job
        task.run = None
        task.asked = False
        # The render must not start a run that has ended here.
        del render.running[run.id]
        render.capacity_used -= run.capacity
        render.outbox.tasks.pop(run.id, None)
        render.outbox.forget(run.id)
        block.running_on[render.name] -= 1
        job.running_on[render.name] -= 1
        job.user.running -= 1
        job.user.running_on[render.name] -= 1
        self.changes.note_user(job.user.id, "change")
        self.log_run(run, "Finished")
        self.limited.pop(run.id, None)
        self.outgoing.ended_runs.append(run.id)
        self.freed.add(render.name)
        render.task_start_finish_time = self.wall()
        self.changes.note_render(render.id, "change")
        # The place that is free under such a limit may go to any render, not only to this one:
        # `test_the_place_of_one_render_may_go_to_another`.
        needs = (block.spec.needs, job.spec.needs, job.user.needs)
        if any(n.max_running_tasks >= 0 or n.max_running_tasks_per_host >= 0 for n in needs):
            self.all_freed = True


def time_limits(run: Run) -> tuple[tuple[float, str], ...]:
    """When the farm stops a run by itself, and with which reason, for each of its limits."""
    spec = run.task.block.spec
    limits = []
    if spec.task_max_run_time > 0:
        text = f"task_max_run_time of {spec.task_max_run_time} s is over"
        limits.append((run.assigned + spec.task_max_run_time, text))
    if spec.task_progress_change_timeout > 0:
        text = f"no progress for {spec.task_progress_change_timeout} s"
        limits.append((run.progressed + spec.task_progress_change_timeout, text))
    return tuple(limits)


def _line(when: float, text: str) -> str:
    return f"{utc_time(when)} {text}\n"
