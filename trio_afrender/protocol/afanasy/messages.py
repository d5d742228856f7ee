"""What the binary messages say, as values. Tasks and resources are those of `messages`.

The protocol knows no runs: an exec that was read has an empty `run`, which the link fills in.
Numbers are kept as they come, also where they make no sense: judging them is the link's.
"""

from __future__ import annotations

from typing import TypeAlias

import attrs

from trio_afrender.protocol.messages import HostResources, TaskExec, TaskFile, TaskKey

__all__ = (
    "Interface",
    "IpAddress",
    "Json",
    "Message",
    "OutputText",
    "RenderDeregister",
    "RenderEvents",
    "RenderId",
    "RenderRegister",
    "RenderUpdate",
    "TaskUp",
    "VersionMismatch",
)


@attrs.frozen(slots=True, kw_only=True)
class IpAddress:
    """An IP address: `family` 0 is IPv4, 1 IPv6, 2 none; `packed` is zero padded to 16 bytes."""

    family: int = 2
    port: int = 0
    packed: bytes = bytes(16)


@attrs.frozen(slots=True, kw_only=True)
class Interface:
    """A network interface; the server wants its MAC for Wake-on-LAN."""

    name: str
    mac: bytes = bytes(6)
    addresses: tuple[IpAddress, ...] = ()


@attrs.frozen(slots=True, kw_only=True)
class RenderRegister:
    """The whole render. `id` is 0: a server that does not know the name grants what is asked."""

    name: str
    tasks: tuple[TaskExec, ...] = ()
    os: str = ""
    engine: str = ""
    user_name: str = ""
    state: int = 1
    flags: int = 0
    priority: int = 99
    time_launch: int = 0
    address: IpAddress = IpAddress()
    tasks_percents: tuple[int, ...] = ()
    """One for each of `tasks`, -1."""
    idle_time: int = 0
    busy_time: int = 0
    resources: HostResources
    id: int = 0
    netifs: tuple[Interface, ...] = ()
    """127 at most."""


@attrs.frozen(slots=True, kw_only=True)
class TaskUp:
    """The state of one task. `data` without any content makes `log` the task's output."""

    client_id: int
    job: int
    block: int
    task: int
    number: int = 0
    status: int
    percent: int = 0
    frame: int = 0
    percentframe: int = 0
    progress_changed: bool = False
    activity: str = ""
    resources: str = ""
    report: str = ""
    log: str = ""
    listened: str = ""
    parsed_files: tuple[str, ...] = ()
    data: bytes = b""
    files: tuple[TaskFile, ...] = ()

    @property
    def key(self) -> TaskKey:
        return TaskKey(self.job, self.block, self.task, self.number)


@attrs.frozen(slots=True, kw_only=True)
class OutputText:
    """What a task has printed so far, for somebody who asked."""

    key: TaskKey
    text: str


@attrs.frozen(slots=True, kw_only=True)
class RenderUpdate:
    """What a render has to say; nothing but that it lives is 25 bytes."""

    id: int
    taskups: tuple[TaskUp, ...] = ()
    outputs: tuple[OutputText, ...] = ()
    resources: HostResources | None = None


@attrs.frozen(slots=True, kw_only=True)
class RenderEvents:
    """What a server has to say. With a negative `id` only that and `log` mean anything."""

    id: int
    heartbeat_sec: int = 0
    resources_update_period: int = 0
    zombie_time: int = 0
    exit_no_task_time: int = 0
    tasks: tuple[TaskExec, ...] = ()
    closes: tuple[TaskKey, ...] = ()
    stops: tuple[TaskKey, ...] = ()
    outputs: tuple[TaskKey, ...] = ()
    listens_add: tuple[TaskKey, ...] = ()
    listens_rem: tuple[TaskKey, ...] = ()
    instruction: str = ""
    command: str = ""
    log: str = ""


@attrs.frozen(slots=True, kw_only=True)
class RenderId:
    """The answer to an update when there is nothing to do."""

    id: int


@attrs.frozen(slots=True, kw_only=True)
class RenderDeregister:
    """Goodbye of the render with that id."""

    id: int


@attrs.frozen(slots=True, kw_only=True)
class VersionMismatch:
    """The answer to a request of another protocol; `version` is the answerer's own."""

    version: int
    value: int = 1


@attrs.frozen(slots=True, kw_only=True)
class Json:
    """A question or answer in JSON. As `text` it has its header in letters, else a binary one.

    `body` may hold bytes that are not UTF-8 and raw control characters: parse it leniently.
    """

    body: bytes
    text: bool = False


Message: TypeAlias = (
    RenderRegister
    | RenderUpdate
    | RenderEvents
    | RenderId
    | RenderDeregister
    | VersionMismatch
    | Json
)
