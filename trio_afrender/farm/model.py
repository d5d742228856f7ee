"""Mutable records of jobs, blocks, tasks, users, runs and renders. The rules are in other modules."""

from __future__ import annotations

import enum
import math
from collections import Counter
from typing import NamedTuple

import attrs

from trio_afrender.farm.auto_nimby import LoadWatch
from trio_afrender.farm.node_log import NodeLog
from trio_afrender.farm.render_parameters import (
    EffectiveParameters,
    PoolParameters,
    RenderOverrides,
    resolve,
)
from trio_afrender.farm.render_queue import RenderQueue
from trio_afrender.farm.render_states import RenderBit, RenderStates
from trio_afrender.jobs.host_masks import NO_MASKS, HostMasks
from trio_afrender.jobs.job_spec import BlockSpec, HostNeeds, JobSpec
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
    "NO_STARTS",
    "Block",
    "BlockSummary",
    "FarmStopKind",
    "Group",
    "Job",
    "RenderState",
    "Run",
    "StartRate",
    "Stop",
    "Task",
    "TaskState",
    "User",
)


class TaskState(enum.StrEnum):
    """What a task is doing. The last four are final."""

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
    """Why the farm stops a run. It decides the state of the task, whatever the outcome of the run."""

    ASKED = "asked"
    """A user has stopped the task for good."""
    LIMIT = "limit"
    """It broke a limit of its block: an error of the task."""
    RESTART = "restart"
    """The task is queued again, without an error."""
    SKIP = "skip"
    DONE = "done"
    """A user counts the task as done."""


@attrs.frozen(slots=True)
class Stop:
    kind: FarmStopKind
    reason: str


@attrs.define(slots=True, eq=False, kw_only=True)
class Run:
    """One assignment of a task to a render. It is always in one of three states.

    Current: the task is RUNNING and `task.run` is this run. Lost: the link to its render was lost
    and the task was queued again, but the render may still bring the run back. Over: its outcome
    has been applied.
    """

    id: str
    task: Task
    attempt: int
    """From 1."""
    render: RenderState
    capacity: int
    assigned: float
    """On the farm's own clock, like all times that are not marked as Unix time."""
    progressed: float
    """When the render last reported progress."""
    sent: bool = False
    """Whether a message with this run has been taken for sending."""
    over: bool = False
    lost: bool = False
    late_since: float | None = None
    """As that of a render, for its time limits."""
    stop: Stop | None = None
    suspended: str = ""
    """Why its processes are suspended; empty: they are not."""
    resumed: bool = False
    """Whether the last such request was to resume it: one that was lost is sent again."""
    log_n: int = -1
    """The highest entry number applied; the next two likewise."""
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
    error_hosts: dict[str, tuple[int, float]] | None = None
    """As those of the block; None: no error yet."""
    attempts: int = 0
    listeners: int = 0
    asked: bool = False
    """A user waits for its output."""
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
    marks: int = 0
    """Bits of `task_bits` that do not follow from the state."""
    unsaved: str = ""
    """Lines of the farm for the log, stored together with the next text."""
    files: dict[str, None] = attrs.field(factory=dict)
    """Base names, in the order they came."""
    why: list[Reason] = attrs.field(factory=list)
    stored: bool = False
    """Whether the database has a row of it."""
    view: TaskView | None = None
    """The snapshot of the present state; None: to be made anew."""


@attrs.define(slots=True, eq=False)
class Group:
    """Tasks of one frame range, in a block with a dependency between tasks."""

    tasks: list[Task]
    remaining: int
    """How many of them are not done."""
    waits: int = 0
    """How many groups must be done before this one."""
    unlocks: list[Group] = attrs.field(factory=list)


@attrs.frozen(slots=True, kw_only=True)
class BlockSummary:
    """Numbers of a block that one pass over its tasks gives. Kept until a task changes."""

    bits: int
    """Those of its tasks, done if all are, waiting if the block waits."""
    percentage: int
    ready: int
    done: int
    """The skipped ones are among them."""
    error: int
    skipped: int
    warning: int
    waiting_reconnect: int
    waiting_dependencies: int
    suspended: int
    running_capacity: int
    run_time_min: int
    """Seconds; like the next one, of tasks that are done. 0: there is none."""
    run_time_max: int
    run_time_sum: int
    """Seconds of all tasks that have ended, with an error or without."""
    bar: str
    """128 letters: D done, S skipped, G done with a warning, r ready, T tried next, W waits for
    others, R runs, N runs with a warning, Y had an error and is ready, E error, C waits for its
    render, U suspended. A letter that stands for several tasks is that of the most important one."""


@attrs.define(slots=True, eq=False, kw_only=True)
class Block:
    job: Job
    number: int = 0
    """Its place in the job."""
    spec: BlockSpec
    masks: HostMasks
    ranks: list[int] | None = None
    """The rank of each task in the order of assignment; None: in the order of their numbers."""
    previews: int | None = None
    """How many ranks are coarse steps, which a job with `ppa` starts; None: all tasks."""
    tasks: list[Task] = attrs.field(factory=list)
    ready: list[tuple[int, int]] = attrs.field(factory=list)
    """A heap of (rank, task number). It keeps entries of tasks that are no longer READY: to take
    one out of the middle of a heap costs a search, to skip it costs nothing."""
    counts: Counter[TaskState] = attrs.field(factory=Counter)
    running_on: Counter[str] = attrs.field(factory=Counter)
    error_hosts: dict[str, tuple[int, float]] = attrs.field(factory=dict)
    """Render name -> (number of errors, time of the last one)."""
    waits: int = 0
    """How many blocks must be done before this one."""
    waits_for: tuple[int, ...] = ()
    """The numbers of those blocks, done ones too."""
    depends: tuple[int, ...] = ()
    """Blocks waited for as a whole or task by task; for messages only."""
    groups: list[Group] = attrs.field(factory=list)
    """In a block that is on either end of a dependency between tasks."""
    unlocks: list[Block] = attrs.field(factory=list)
    summary: BlockSummary | None = None
    """Kept until a task changes."""

    @property
    def done(self) -> bool:
        return self.counts[TaskState.DONE] + self.counts[TaskState.SKIPPED] == len(self.tasks)


class StartRate(NamedTuple):
    """How many tasks were started in a second that began at `begin`, on the farm's own clock."""

    begin: float = -math.inf
    started: int = 0

    @property
    def end(self) -> float:
        return self.begin + 1.0

    def add(self, now: float) -> StartRate:
        """The rate after one more start."""
        return StartRate(now, 1) if now >= self.end else StartRate(self.begin, self.started + 1)


NO_STARTS = StartRate()


@attrs.define(slots=True, eq=False, kw_only=True)
class User:
    """One user. It is made when a job names it for the first time.

    A number of -1 means "not limited" in `needs`, and "the farm's setting" in the error rules.
    """

    id: int
    name: str
    host_name: str = ""
    """The host from which its last job was submitted."""
    time_register: float = 0.0
    """Unix time, like the next one."""
    time_activity: float = 0.0
    priority: int = 99
    annotation: str = ""
    custom_data: str = ""
    srv_info: str = ""
    hidden: bool = False
    paused: bool = False
    """Whether none of its tasks is started."""
    needs: HostNeeds = attrs.field(factory=HostNeeds)
    """Limits and masks for all its jobs together."""
    hosts_mask_type: str = "find"
    """The language of these masks, and of those of its jobs that come by the JSON interface."""
    masks: HostMasks = NO_MASKS
    errors_retries: int = -1
    errors_avoid_host: int = -1
    errors_task_same_host: int = -1
    errors_forgive_time: int = -1
    jobs_life_time: int = -1
    """Seconds from its creation after which a job is deleted; 0 or less: never."""
    jobs: dict[int, Job] = attrs.field(factory=dict, repr=False)
    """By id."""
    starts: StartRate = NO_STARTS
    running: int = 0
    """How many of its tasks run."""
    running_on: Counter[str] = attrs.field(factory=Counter)
    """Render name -> how many of its tasks run there."""
    node_log: NodeLog = attrs.field(factory=NodeLog)


@attrs.define(slots=True, eq=False, kw_only=True)
class Job:
    id: int
    user: User
    spec: JobSpec
    masks: HostMasks
    blocks: list[Block] = attrs.field(factory=list)
    position: float = 0.0
    """Among jobs of equal priority, those with a lower one come first."""
    created: float = 0.0
    """Unix time."""
    state: str = "running"
    started: float | None = None
    finished: float | None = None
    held_until: float | None = None
    """The farm's clock: nothing starts before it (``time_wait``)."""
    before: list[Job] = attrs.field(factory=list)
    """Jobs that must be done before this one starts."""
    held: bool = True
    """Whether it waits for a time or for other jobs."""
    paused: bool = False
    """Whether no task is started until a user starts the job."""
    deleting: bool = False
    """Whether it is deleted as soon as no task of it runs."""
    run_ids: list[str] = attrs.field(factory=list)
    """Of all runs of its tasks, so that they are found without a search through those of all jobs."""
    gone: bool = False
    """Whether it has been deleted: nothing of it is stored any more."""
    try_next: list[Task] = attrs.field(factory=list)
    """Tasks that come before the others of the job, in this order."""
    starts: StartRate = NO_STARTS
    awaits_approval: bool = False
    """Whether all previews of a job with `ppa` have been started."""
    ending: str = ""
    """Why no further task is started; empty: tasks are started."""
    counts: Counter[TaskState] = attrs.field(factory=Counter)
    running_on: Counter[str] = attrs.field(factory=Counter)
    node_log: NodeLog = attrs.field(factory=NodeLog)
    thumbnail: tuple[TaskKey, str] | None = None
    """The task and the name of the file that came last."""
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
    overrides: RenderOverrides = attrs.field(factory=RenderOverrides)
    effective: EffectiveParameters = attrs.Factory(
        lambda self: resolve(self.register, self.overrides, PoolParameters()), takes_self=True
    )
    """What counts for its tasks, by `register`, `overrides` and the pool."""
    states: RenderStates = attrs.field(factory=RenderStates)
    reported: int = 1
    """Afanasy's state bits, as the render last reported them: `states` has what they mean."""
    sick_errors: dict[str, tuple[str, float]] = attrs.field(factory=dict)
    """Users with a failed task since the last success: name -> service, Unix time."""
    node_log: NodeLog = attrs.field(factory=NodeLog)
    tasks_log: NodeLog = attrs.field(factory=NodeLog)
    """Its last starts of tasks."""
    time_register: float = 0.0
    """Unix time, like the next three; 0: never."""
    time_update: float = 0.0
    """When its last message came."""
    task_start_finish_time: float = 0.0
    """When a task last began or ended there."""
    wol_operation_time: float = 0.0
    """When it last came, left, was ordered to sleep or was woken."""
    wol_deadline: float | None = None
    """When a sleep or a wake that is under way has failed."""
    watch: LoadWatch = attrs.field(factory=LoadWatch)
    """Since when its host is idle or busy, on the farm's own clock."""
    running: dict[str, Run] = attrs.field(factory=dict)
    capacity_used: int = 0
    resources: HostResources | None = None
    outbox: RenderQueue = attrs.field(factory=RenderQueue)
    last_seen: float = 0.0
    busy: bool = False
    """Whether a message of it is being processed: meanwhile it does not count as silent."""
    lost_at: float | None = None
    """When its tasks are queued again; None while it has a link, and after that time."""
    late_since: float | None = None
    """When it was found to be silent, or lost, for too long: it is given up a moment later."""
    paused_until: float = 0.0
    """It gets no task before that time, because it gave one back."""
    given_back: int = 0
    """How many tasks in a row it gave back."""

    @property
    def online(self) -> bool:
        """Whether it has a link. Its bits say so for a zombie time longer."""
        return self.session is not None

    @property
    def bits(self) -> RenderBit:
        """Afanasy's ``st``."""
        return self.states.bits
