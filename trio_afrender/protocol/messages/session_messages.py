"""The messages of a session. ``docs/protocol.md`` states what the receiver of each must do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import attrs

from trio_afrender.protocol.messages.resources import HostResources
from trio_afrender.protocol.messages.tasks import TaskExec, TaskKey, TaskUpdate

__all__ = (
    "NIMBY",
    "NIMBY_OWNER",
    "ONLINE",
    "PAUSED",
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

ONLINE, NIMBY_OWNER, NIMBY, PAUSED = 1, 2, 4, 256
"""Bits of a render's state: online; only the owner's jobs; no jobs; the NIMBY passes."""


@attrs.frozen(slots=True, kw_only=True)
class RunRef:
    """Names one run of a task; in a stop, `reason` has the cause and the requester."""

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
    """Describes the whole render. First message of a session; the answer is Registered or Refused."""

    name: str
    user_name: str = ""
    host_name: str = ""
    engine: str = ""
    os: str = ""
    state: int = ONLINE
    """Bits: `ONLINE`, `NIMBY_OWNER`, `NIMBY`, `PAUSED`."""
    flags: int = 0
    priority: int = 99
    capacity: int = 1100
    max_tasks: int = 4
    services: tuple[str, ...] = ()
    """Names of the services that this render offers; empty: any."""
    time_launch: int = 0
    address: str = ""
    netifs: tuple[NetIF, ...] = ()
    resources: HostResources | None = None
    running: tuple[TaskExec, ...] = ()
    undelivered: tuple[TaskExec, ...] = ()
    """Ended runs whose outcome the server has not closed yet."""
    sleep_failed: str = ""
    """Why the host is awake although the server ordered it to sleep; empty: nothing to report."""


@attrs.frozen(slots=True, kw_only=True)
class Registered:
    """The register was accepted. Times in seconds (resources_update_period in heartbeats); 0: the
    render's own setting."""

    id: int
    heartbeat_sec: float = 0
    resources_update_period: int = 0
    zombie_time: float = 0
    exit_no_task_time: float = 0
    """Exit after so many idle seconds; 0: unchanged (never, at the start); below 0: never."""
    resume: tuple[str, ...] = ()
    """Runs listed in the register that the server keeps."""
    stop: tuple[str, ...] = ()
    """Runs to kill and drop: no report of them may follow."""
    log: str = ""


@attrs.frozen(slots=True, kw_only=True)
class Refused:
    """The register was refused: ``name-taken``, ``version``, ``unauthorized``, ``not-registered`` ..."""

    reason: str
    text: str = ""
    retry_after: float | None = None
    """Seconds; None: do not try again."""


@attrs.frozen(slots=True, kw_only=True)
class Events:
    """Requests of the server. The render handles them in this order: tasks, closes, stops, suspends,
    resumes, outputs, listens."""

    tasks: tuple[TaskExec, ...] = ()
    closes: tuple[RunRef, ...] = ()
    stops: tuple[RunRef, ...] = ()
    suspends: tuple[RunRef, ...] = ()
    """Runs whose processes are to be suspended until a resume."""
    resumes: tuple[RunRef, ...] = ()
    outputs: tuple[RunRef, ...] = ()
    listens_add: tuple[RunRef, ...] = ()
    listens_rem: tuple[RunRef, ...] = ()
    instruction: str = ""
    command: str = ""
    heartbeat_sec: float = 0
    """0: unchanged; likewise the next three."""
    resources_update_period: int = 0
    zombie_time: float = 0
    exit_no_task_time: float = 0
    log: str = ""


@attrs.frozen(slots=True, kw_only=True)
class Ack:
    """The updates up to `seq` of this session were received and applied."""

    seq: int


@attrs.frozen(slots=True, kw_only=True)
class LogEntry:
    """Text for the task's log on the server. Each (run, n) is applied once, also if sent again."""

    run: str
    n: int
    text: str


@attrs.frozen(slots=True, kw_only=True)
class ListenedEntry:
    """New output of a run that a client listens to. Each (run, n) is applied once."""

    run: str
    n: int
    text: str


@attrs.frozen(slots=True, kw_only=True)
class TaskFile:
    """A small file that the server stores, as a thumbnail: base name, under 100,000 bytes."""

    name: str
    data: bytes


@attrs.frozen(slots=True, kw_only=True)
class FilesEntry:
    """Files of a run. Each (run, n) is applied once; a later file of the same name replaces it."""

    run: str
    n: int
    files: tuple[TaskFile, ...]


@attrs.frozen(slots=True, kw_only=True)
class AskedOutput:
    """The answer to a run in `Events.outputs`: its output so far, never empty."""

    run: str
    job: int
    block: int
    task: int
    number: int = 0
    output: str


@attrs.frozen(slots=True, kw_only=True)
class Update:
    """Changes on the render since the last update, with the output of at most one ended run.

    The receiver applies log, listened and files before tasks, because a terminal status ends the
    run they belong to.
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
    """The render's state bits if they changed (see `Register.state`); else None."""


@attrs.frozen(slots=True, kw_only=True)
class Deregister:
    """The render ends its session for good; `reason` is a text for users."""

    reason: str = ""


@attrs.frozen(slots=True, kw_only=True)
class Unknown:
    """A message of a type that this version does not know; it is logged once and skipped."""

    type: str
    raw: Mapping[str, object]


FromRender: TypeAlias = Register | Update | Deregister | Unknown
FromServer: TypeAlias = Registered | Refused | Events | Ack | Unknown
