"""Tasks as the server assigns them, and the render's reports on them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import NamedTuple

import attrs

__all__ = (
    "BlockFlags",
    "Reason",
    "TaskExec",
    "TaskKey",
    "TaskStatus",
    "TaskUpdate",
    "TaskUsage",
)


class TaskKey(NamedTuple):
    """Names a task among the present ones. Job ids are reused, so a *run* is named by `run`."""

    job: int
    block: int
    task: int
    number: int = 0

    def __str__(self) -> str:
        text = f"{self.job}.{self.block}.{self.task}"
        return f"{text}.{self.number}" if self.number else text


class TaskStatus(enum.IntEnum):
    """Afanasy's numbers for the state of a task, without those that the server mishandles."""

    NoUpdate = 1
    Started = 2
    Percent = 3
    Warning = 4
    FinishedSuccess = 5
    FinishedError = 6
    FinishedKilled = 7
    FinishedParserError = 8
    FinishedParserFatalError = 9
    FinishedParserBadResult = 10
    FinishedParserSuccess = 11
    FinishedFailedPost = 12
    BadRenderedFiles = 13
    RenderDeregister = 14
    GiveBack = 15  # Afanasy's RenderExit: the task becomes ready again, no error is counted
    RenderZombie = 16
    Skip = 20
    FailedToStart = 23

    @property
    def terminal(self) -> bool:
        """Whether the run has ended: everything above Warning."""
        return self > TaskStatus.Warning

    @property
    def success(self) -> bool:
        """Whether the server counts the task as done; also after a failed post command."""
        return self in (
            TaskStatus.FinishedSuccess,
            TaskStatus.FinishedParserSuccess,
            TaskStatus.FinishedFailedPost,
            TaskStatus.Skip,
        )

    @property
    def given_back(self) -> bool:
        """Whether the task goes back to the queue without an error."""
        return self in (TaskStatus.RenderDeregister, TaskStatus.GiveBack, TaskStatus.RenderZombie)


class BlockFlags(enum.IntFlag):
    """The bits of ``block_flags`` (a job file's ``flags``)."""

    NUMERIC = 1
    VARCAPACITY = 2
    MULTIHOST = 4
    MASTERONSLAVE = 8
    DEPENDSUBTASK = 16
    SKIPTHUMBNAILS = 32
    SKIPEXISTINGFILES = 64
    CHECKRENDEREDFILES = 128
    SLAVELOSTIGNORE = 256
    APPENDEDTASKS = 512
    SUSPENDNEWTASKS = 1024


@attrs.frozen(slots=True, kw_only=True)
class TaskExec:
    """One run of one task: Afanasy's TaskExec plus `run`.

    Frame patterns are not expanded and paths are the server's; the service expands and maps them.
    """

    run: str
    """An opaque id, never reused; updates, closes, stops, folders and logs carry it."""
    job: int
    block: int
    task: int
    number: int = 0
    name: str = ""
    block_name: str = ""
    job_name: str = ""
    user_name: str = ""
    service: str = "generic"
    parser: str = ""
    command_block: str = ""
    command_task: str = ""
    """Empty in numeric blocks."""
    working_directory: str = ""
    environment: Mapping[str, str] = attrs.field(factory=dict)
    files_block: tuple[str, ...] = ()
    files_task: tuple[str, ...] = ()
    flags: int = 0
    """Bit 0: a client already listens to the output."""
    block_flags: int = 0
    frame_start: int = 0
    frame_finish: int = 0
    """Inclusive, already aligned to `frames_inc`."""
    frames_inc: int = 1
    frames_num: int = 1
    capacity: int = 1000
    capacity_coeff: int = 0
    multihost_names: tuple[str, ...] = ()
    parsed_files: tuple[str, ...] = ()
    data_integers: Mapping[str, int] = attrs.field(factory=dict)
    data_strings: Mapping[str, str] = attrs.field(factory=dict)
    tickets: Mapping[str, int] = attrs.field(factory=dict)
    time_start: int = 0
    """Unix time at which the server assigned it."""

    @property
    def key(self) -> TaskKey:
        return TaskKey(self.job, self.block, self.task, self.number)


@attrs.frozen(slots=True, kw_only=True)
class Reason:
    """One step of the answer to "why": the event, the request or rule behind it, the processes."""

    time: float
    """Unix time."""
    event: str
    """A stable word: cause, class, asked, rule, signal, exit, drain, sweep, leftover, refused, gap ..."""
    text: str
    pids: tuple[int, ...] = ()


@attrs.frozen(slots=True, kw_only=True)
class TaskUsage:
    """Usage of the whole process tree of a run, now and since its start. Sizes in bytes."""

    resident: int = 0
    """Memory now; shared memory counts once, where that is cheap to read."""
    resident_peak: int = 0
    cpu_seconds: float = 0.0
    """Of all processes that ever belonged to the tree."""
    cpu_percent: float = 0.0
    """Since the measurement before; 100 is one core."""
    read_bytes: int = 0
    """From devices, not from caches; likewise `written_bytes`."""
    written_bytes: int = 0
    processes: int = 0
    processes_peak: int = 0
    gpu_memory: int = 0
    """On all GPUs."""
    gpu_memory_peak: int = 0
    gpu_percent: float = 0.0
    """Of the GPUs' time, added up; 100 is one GPU."""


@attrs.frozen(slots=True, kw_only=True)
class TaskUpdate:
    """The state of one run. Until `status` is terminal, a newer update replaces an older one."""

    run: str
    job: int
    block: int
    task: int
    number: int = 0
    status: TaskStatus
    percent: int = 0
    frame: int = 0
    percentframe: int = 0
    progress_changed: bool = False
    """Restarts the server's no-progress timer."""
    activity: str = ""
    """Empty: unchanged; likewise `report` and `resources`."""
    report: str = ""
    resources: str = ""
    parsed_files: tuple[str, ...] = ()
    usage: TaskUsage | None = None
    """None: not measured yet."""
    # The following fields are set in terminal updates only.
    output: str = ""
    """Head and tail of what the task printed, with a marker where the middle was left out."""
    exit_code: int | None = None
    exit_signal: int | None = None
    started: float | None = None
    """Unix time of the start of the process; None if none was started."""
    finished: float | None = None
    why: tuple[Reason, ...] = ()
    leftovers: tuple[int, ...] = ()
    """Pids that survived KILL (state D); the host takes no new task until they have ended."""

    @property
    def key(self) -> TaskKey:
        return TaskKey(self.job, self.block, self.task, self.number)
