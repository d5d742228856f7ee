"""The messages of a session. `docs/protocol.md` says what each obliges the other side to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import attrs

from trio_afrender.protocol.messages.resources import HostResources
from trio_afrender.protocol.messages.tasks import TaskExec, TaskKey, TaskUpdate

__all__ = (
    "Ack",
    "AskedOutput",
    "Deregister",
    "Events",
    "FilesEntry",
    "FromRender",
    "FromServer",
    "ListenedEntry",
    "LogEntry",
    "NetIF",
    "Refused",
    "Register",
    "Registered",
    "RunRef",
    "TaskFile",
    "Unknown",
    "Update",
)


@attrs.frozen(slots=True, kw_only=True)
class RunRef:
    """Points at one run of a task; in a stop, `reason` says why and who."""

    run: str
    job: int
    block: int
    task: int
    number: int = 0
    reason: str = ""

    @property
    def key(self) -> TaskKey:
        return TaskKey(self.job, self.block, self.task, self.number)

    @classmethod
    def of(cls, task: TaskExec | TaskUpdate, reason: str = "") -> RunRef:
        return cls(run=task.run, **task.key._asdict(), reason=reason)


@attrs.frozen(slots=True, kw_only=True)
class NetIF:
    """A network interface: name, MAC as ``aa:bb:cc:dd:ee:ff``, addresses as text."""

    name: str
    mac: str = ""
    addresses: tuple[str, ...] = ()


@attrs.frozen(slots=True, kw_only=True)
class Register:
    """The whole render. Sent first in each session; answered by Registered or Refused."""

    name: str
    user_name: str = ""
    host_name: str = ""
    engine: str = ""
    os: str = ""
    state: int = 1
    """Bits: 1 online, 2 nimby (only the owner's jobs), 4 NIMBY (no jobs)."""
    flags: int = 0
    priority: int = 99
    capacity: int = 1100
    max_tasks: int = 4
    services: tuple[str, ...] = ()
    """Names this render offers; empty: any."""
    time_launch: int = 0
    address: str = ""
    netifs: tuple[NetIF, ...] = ()
    resources: HostResources | None = None
    running: tuple[TaskExec, ...] = ()
    undelivered: tuple[TaskExec, ...] = ()
    """Runs that are over and whose outcome the server has not closed yet."""


@attrs.frozen(slots=True, kw_only=True)
class Registered:
    """Accepted. Settings in seconds (resources_update_period in heartbeats); 0: your default."""

    id: int
    heartbeat_sec: float = 0
    resources_update_period: int = 0
    zombie_time: float = 0
    exit_no_task_time: float = 0
    """Exit after so many seconds without a task; 0: no change, at first never; below 0: never."""
    resume: tuple[str, ...] = ()
    """Runs the server still wants, of those listed in the register."""
    stop: tuple[str, ...] = ()
    """Runs to kill and forget: no report of them may follow."""
    log: str = ""


@attrs.frozen(slots=True, kw_only=True)
class Refused:
    """Not accepted: ``name-taken``, ``version``, ``unauthorized``, ``not-registered`` ..."""

    reason: str
    text: str = ""
    retry_after: float | None = None
    """Seconds; None: do not try again."""


@attrs.frozen(slots=True, kw_only=True)
class Events:
    """What the server wants. The order of work: tasks, closes, stops, suspends, resumes, outputs,
    listens."""

    tasks: tuple[TaskExec, ...] = ()
    closes: tuple[RunRef, ...] = ()
    stops: tuple[RunRef, ...] = ()
    suspends: tuple[RunRef, ...] = ()
    """Runs that are to stand still, with all their processes, until they are resumed."""
    resumes: tuple[RunRef, ...] = ()
    outputs: tuple[RunRef, ...] = ()
    listens_add: tuple[RunRef, ...] = ()
    listens_rem: tuple[RunRef, ...] = ()
    instruction: str = ""
    command: str = ""
    heartbeat_sec: float = 0
    """0: no change; so too the other three."""
    resources_update_period: int = 0
    zombie_time: float = 0
    exit_no_task_time: float = 0
    log: str = ""


@attrs.frozen(slots=True, kw_only=True)
class Ack:
    """Everything up to `seq` of this session has been received and applied."""

    seq: int


@attrs.frozen(slots=True, kw_only=True)
class LogEntry:
    """Text for the task's log on the server. (run, n) is applied once, however often sent."""

    run: str
    n: int
    text: str


@attrs.frozen(slots=True, kw_only=True)
class ListenedEntry:
    """New output of a run somebody listens to. (run, n) is applied once."""

    run: str
    n: int
    text: str


@attrs.frozen(slots=True, kw_only=True)
class TaskFile:
    """A small file for the server to keep, as a thumbnail: base name, under 100,000 bytes."""

    name: str
    data: bytes


@attrs.frozen(slots=True, kw_only=True)
class FilesEntry:
    """Files of a run. (run, n) is applied once; a later file of one name replaces the earlier."""

    run: str
    n: int
    files: tuple[TaskFile, ...]


@attrs.frozen(slots=True, kw_only=True)
class AskedOutput:
    """The answer to `Events.outputs`: the output so far, never empty."""

    run: str
    job: int
    block: int
    task: int
    number: int = 0
    output: str


@attrs.frozen(slots=True, kw_only=True)
class Update:
    """What happened on the render since the last one. At most one outcome's output in each.

    Log, listened and files are applied before tasks: they belong to what the outcome ends.
    """

    seq: int
    """From 1 in each session, without gaps."""
    tasks: tuple[TaskUpdate, ...] = ()
    outputs: tuple[AskedOutput, ...] = ()
    resources: HostResources | None = None
    log: tuple[LogEntry, ...] = ()
    listened: tuple[ListenedEntry, ...] = ()
    files: tuple[FilesEntry, ...] = ()
    state: int | None = None
    """The render's state bits when they changed (4, NIMBY: hand out no more tasks); else None."""


@attrs.frozen(slots=True, kw_only=True)
class Deregister:
    """The render leaves; `reason` is for people."""

    reason: str = ""


@attrs.frozen(slots=True, kw_only=True)
class Unknown:
    """A message of a type this version does not know: logged once and skipped."""

    type: str
    raw: Mapping[str, object]


FromRender: TypeAlias = Register | Update | Deregister | Unknown
FromServer: TypeAlias = Registered | Refused | Events | Ack | Unknown
