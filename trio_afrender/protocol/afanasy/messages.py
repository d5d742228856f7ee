"""The binary messages as values. Tasks and resources are those of `trio_afrender.protocol.messages`.

This protocol has no runs: a decoded task has an empty `run`, which the afserver link sets. Numbers
are decoded unchanged, also invalid ones: the link checks them.
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
    """An IP address: `family` is 0 (IPv4), 1 (IPv6) or 2 (none); `packed` is padded to 16 bytes."""

    family: int = 2
    port: int = 0
    packed: bytes = bytes(16)


@attrs.frozen(slots=True, kw_only=True)
class Interface:
    """A network interface; the server uses its MAC for Wake-on-LAN."""

    name: str
    mac: bytes = bytes(6)
    addresses: tuple[IpAddress, ...] = ()


@attrs.frozen(slots=True, kw_only=True)
class RenderRegister:
    """Describes the whole render. `id` must be 0: a server without that name would accept any other."""

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
    """One for each of `tasks`; always -1."""
    idle_time: int = 0
    busy_time: int = 0
    resources: HostResources
    id: int = 0
    netifs: tuple[Interface, ...] = ()
    """At most 127."""


@attrs.frozen(slots=True, kw_only=True)
class TaskUp:
    """The state of one task. If `data` is empty, the server takes `log` as the task's output."""

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
    """The output of a task so far, for a client that asked for it."""

    key: TaskKey
    text: str


@attrs.frozen(slots=True, kw_only=True)
class RenderUpdate:
    """The changes on a render; without any, a heartbeat of 25 bytes."""

    id: int
    taskups: tuple[TaskUp, ...] = ()
    outputs: tuple[OutputText, ...] = ()
    resources: HostResources | None = None


@attrs.frozen(slots=True, kw_only=True)
class RenderEvents:
    """The requests of a server. If `id` is negative, only `id` and `log` count."""

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
    """The answer to an update that needs no action."""

    id: int


@attrs.frozen(slots=True, kw_only=True)
class RenderDeregister:
    """The render with this id ends its registration."""

    id: int


@attrs.frozen(slots=True, kw_only=True)
class VersionMismatch:
    """The answer to a request of another version; `version` is that of the sender."""

    version: int
    value: int = 1


@attrs.frozen(slots=True, kw_only=True)
class Json:
    """A request or answer in JSON, with a text header if `text` is true, else a binary one.

    `body` may contain bytes that are not UTF-8 and raw control characters: parse it leniently.
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
