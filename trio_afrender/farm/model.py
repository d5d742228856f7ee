"""The farm's memory: mutable records of jobs, blocks, tasks, runs and renders. No rules here."""

from __future__ import annotations

import enum
import re
from collections import Counter

import attrs

from trio_afrender.farm.render_queue import RenderQueue
from trio_afrender.jobs.job_spec import BlockSpec, JobSpec
from trio_afrender.jobs.views import JobView, TaskView
from trio_afrender.protocol.messages import (
    HostResources,
    Reason,
    Register,
    RunRef,
    TaskKey,
    TaskUsage,
)

__all__ = (
    "Block",
    "FarmStopKind",
    "Group",
    "Job",
    "Masks",
    "RenderState",
    "Run",
    "Stop",
    "Task",
    "TaskState",
)


class TaskState(enum.StrEnum):
    """What a task is doing. The last four are the end of it."""

    WAITING = "waiting"
    READY = "ready"
    RUNNING = "running"
    DONE = "done"
    ERROR = "error"
    SKIPPED = "skipped"
    KILLED = "killed"

    @property
    def over(self) -> bool:
        return self not in (TaskState.WAITING, TaskState.READY, TaskState.RUNNING)


class FarmStopKind(enum.Enum):
    """Why the farm stops a run: somebody asked, or a limit of the block (then it is an error)."""

    ASKED = "asked"
    LIMIT = "limit"


@attrs.frozen(slots=True)
class Stop:
    kind: FarmStopKind
    reason: str


@attrs.frozen(slots=True)
class Masks:
    """The compiled masks of a block or a job; None where it has none."""

    hosts: re.Pattern[str] | None
    exclude: re.Pattern[str] | None
    os: re.Pattern[str] | None


@attrs.define(slots=True, eq=False, kw_only=True)
class Run:
    """One handing out of a task. Exactly one of *current*, `lost` and `over` holds.

    Current: the task is RUNNING and `task.run` is this one. Lost: its render went away, the task
    was queued again, and this run may still come back. Over: its outcome counts, or cannot.
    """

    id: str
    task: Task
    attempt: int
    """From 1."""
    render: RenderState
    capacity: int
    assigned: float
    """On the farm's own clock, as all times without a word on Unix time."""
    progressed: float
    """When the render last told of progress."""
    sent: bool = False
    over: bool = False
    lost: bool = False
    stop: Stop | None = None
    suspended: str = ""
    """Why it is to stand still; empty: it is not."""
    log_n: int = -1
    """The highest number of an entry applied; so too the next two."""
    listened_n: int = -1
    files_n: int = -1

    @property
    def key(self) -> TaskKey:
        return self.task.key

    def ref(self, reason: str = "") -> RunRef:
        return RunRef(run=self.id, **self.task.key._asdict(), reason=reason)


@attrs.define(slots=True, eq=False, kw_only=True)
class Task:
    key: TaskKey
    block: Block
    state: TaskState = TaskState.WAITING
    group: Group | None = None
    run: Run | None = None
    """The current run."""
    last_run: Run | None = None
    errors: int = 0
    error_hosts: Counter[str] | None = None
    attempts: int = 0
    listeners: int = 0
    asked: bool = False
    """Somebody waits for its output."""
    status: int | None = None
    exit_code: int | None = None
    started: float | None = None
    finished: float | None = None
    percent: int = 0
    frame: int = 0
    percentframe: int = 0
    activity: str = ""
    report: str = ""
    resources: str = ""
    usage: TaskUsage | None = None
    unsaved: str = ""
    """Lines for the log that are not worth a write of their own."""
    files: dict[str, None] = attrs.field(factory=dict)
    """Base names, in the order they came."""
    why: list[Reason] = attrs.field(factory=list)
    view: TaskView | None = None
    """The snapshot of the present state, None when there is none."""


@attrs.define(slots=True, eq=False)
class Group:
    """Tasks of one frame range in a block that others wait for or that waits for others."""

    tasks: list[Task]
    remaining: int
    waits: int = 0
    unlocks: list[Group] = attrs.field(factory=list)


@attrs.define(slots=True, eq=False, kw_only=True)
class Block:
    job: Job
    spec: BlockSpec
    masks: Masks
    ranks: list[int] | None
    """The place of each task in the order of work; None: in order."""
    tasks: list[Task] = attrs.field(factory=list)
    ready: list[tuple[int, int]] = attrs.field(factory=list)
    """A heap of (rank, task); entries whose task is not READY any more are skipped."""
    counts: Counter[TaskState] = attrs.field(factory=Counter)
    running_on: Counter[str] = attrs.field(factory=Counter)
    error_hosts: dict[str, tuple[int, float]] = attrs.field(factory=dict)
    """Render -> how many errors, and when the last."""
    waits: int = 0
    """How many blocks must be done before this one."""
    depends: tuple[int, ...] = ()
    """Blocks waited for in any way, to tell people."""
    unlocks: list[Block] = attrs.field(factory=list)

    @property
    def done(self) -> bool:
        return self.counts[TaskState.DONE] + self.counts[TaskState.SKIPPED] == len(self.tasks)


@attrs.define(slots=True, eq=False, kw_only=True)
class Job:
    id: int
    spec: JobSpec
    masks: Masks
    blocks: list[Block] = attrs.field(factory=list)
    state: str = "running"
    started: float | None = None
    finished: float | None = None
    held_until: float | None = None
    """The farm's clock: nothing starts before it (``time_wait``)."""
    before: list[Job] = attrs.field(factory=list)
    """Jobs that must be done first."""
    held: bool = True
    """It waits for a time or for other jobs."""
    ending: str = ""
    """Why no task starts any more; empty: they do."""
    counts: Counter[TaskState] = attrs.field(factory=Counter)
    running_on: Counter[str] = attrs.field(factory=Counter)
    view: JobView | None = None

    @property
    def over(self) -> bool:
        return self.state != "running"


@attrs.define(slots=True, eq=False, kw_only=True)
class RenderState:
    id: int
    name: str
    register: Register
    peer: str = ""
    session: int | None = None
    """The open link, None when there is none."""
    state: int = 1
    """Afanasy's bits, as the render last told them."""
    running: dict[str, Run] = attrs.field(factory=dict)
    capacity_used: int = 0
    resources: HostResources | None = None
    outbox: RenderQueue = attrs.field(factory=RenderQueue)
    last_seen: float = 0.0
    busy: bool = False
    """We are at work on what it sent: it does not count as silent."""
    lost_at: float | None = None
    """When its tasks are given to others, while its link is gone."""
    paused_until: float = 0.0
    given_back: int = 0
    """How often in a row."""

    @property
    def online(self) -> bool:
        return self.session is not None
