"""The messages between render and server as frozen values. No bytes, no I/O.

Field names are Afanasy's own, so that the JSON of a message looks like the server's.
"""

from __future__ import annotations

from trio_afrender.protocol.messages.resources import (
    CustomMeter,
    GpuCard,
    GpuProcess,
    HostResources,
)
from trio_afrender.protocol.messages.session_messages import (
    NIMBY,
    NIMBY_OWNER,
    ONLINE,
    PAUSED,
    Ack,
    AskedOutput,
    Deregister,
    Events,
    FilesEntry,
    FromRender,
    FromServer,
    ListenedEntry,
    LogEntry,
    NetIF,
    Refused,
    Register,
    Registered,
    RunRef,
    TaskFile,
    Unknown,
    Update,
)
from trio_afrender.protocol.messages.tasks import (
    BlockFlags,
    Reason,
    TaskExec,
    TaskKey,
    TaskStatus,
    TaskUpdate,
    TaskUsage,
)

__all__ = (
    "NIMBY",
    "NIMBY_OWNER",
    "ONLINE",
    "PAUSED",
    "Ack",
    "AskedOutput",
    "BlockFlags",
    "CustomMeter",
    "Deregister",
    "Events",
    "FilesEntry",
    "FromRender",
    "FromServer",
    "GpuCard",
    "GpuProcess",
    "HostResources",
    "ListenedEntry",
    "LogEntry",
    "NetIF",
    "Reason",
    "Refused",
    "Register",
    "Registered",
    "RunRef",
    "TaskExec",
    "TaskFile",
    "TaskKey",
    "TaskStatus",
    "TaskUpdate",
    "TaskUsage",
    "Unknown",
    "Update",
)
