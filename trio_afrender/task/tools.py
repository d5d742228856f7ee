"""What a run needs from outside itself, gathered so that a test can hand in fakes."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Protocol

import attrs
import trio

from trio_afrender.config import Config
from trio_afrender.hostinfo.memory import MemoryHeadroom, ReadHeadroom
from trio_afrender.hostinfo.process_inspection import Examine, ProcessReport
from trio_afrender.hostinfo.process_usage import GpuShare, ProcessUsage
from trio_afrender.plugins.interfaces import PluginRunner
from trio_afrender.process.interfaces import ProcessTree, Spawn
from trio_afrender.protocol.messages import TaskExec
from trio_afrender.task.gpu_slots import GpuAllocator
from trio_afrender.task.image_worker import ImageWorker
from trio_afrender.task.launch import AgentEnvironment
from trio_afrender.task.run_folder import OpenRunFolder

__all__ = ("NoUsageReader", "ProcessUsageReader", "TaskDependencies")


def _new_token() -> str:
    return secrets.token_hex(16)


async def _see_nothing(_pids: Collection[int]) -> ProcessReport:
    await trio.lowlevel.checkpoint()
    return ProcessReport()


async def _dismiss_nothing(_task: TaskExec) -> None:
    await trio.lowlevel.checkpoint()


class ProcessUsageReader(Protocol):
    """Where the figures of processes come from."""

    async def read(self, pids: Collection[int]) -> tuple[ProcessUsage, ...]:
        """Return those that exist, zombies too; () when that takes too long."""
        ...

    def read_usage_now(self, pid: int) -> ProcessUsage | None:
        """Return what a process has used that may be a zombie already. Returns at once."""
        ...

    async def largest(self) -> tuple[ProcessUsage, ...]:
        """Return the processes of the host with most memory, the largest first."""
        ...

    def shares(self) -> Mapping[int, GpuShare]:
        """What processes have of the cards, by pid, as it was measured last."""
        ...


class NoUsageReader:
    """Measures nothing."""

    async def read(self, pids: Collection[int]) -> tuple[ProcessUsage, ...]:
        await trio.lowlevel.checkpoint()
        return ()

    async def largest(self) -> tuple[ProcessUsage, ...]:
        await trio.lowlevel.checkpoint()
        return ()

    def read_usage_now(self, pid: int) -> ProcessUsage | None:
        return None

    def shares(self) -> Mapping[int, GpuShare]:
        return {}


@attrs.frozen(kw_only=True, eq=False)
class TaskDependencies:
    """Everything with an effect. Whoever made the parts closes them."""

    config: Config
    spawn: Spawn
    plugins: PluginRunner
    open_run_folder: OpenRunFolder
    adopt: Callable[[ProcessTree, tuple[int, ...]], None]
    """Takes over a child whose tree could not be emptied; reaps it when it is gone at last."""
    dismiss: Callable[[TaskExec], Awaitable[None]] = _dismiss_nothing
    """Ends what an earlier agent's supervisor still holds of a run; bounded."""
    resources: Callable[[], str] = lambda: ""
    """The host's load as JSON text, for parsers."""
    usage_reader: ProcessUsageReader = attrs.field(factory=NoUsageReader)
    read_room: ReadHeadroom = lambda: MemoryHeadroom(available=1, total=1)
    """How much memory the host has left."""
    image_worker: ImageWorker | None = None
    """Reads images; None: thumbnails are commands like any other, images are not looked at."""
    period: Callable[[], float] = lambda: 5.0
    """Seconds between two measurements of a task's tree."""
    examine: Examine = _see_nothing
    """Looks at processes that do nothing any more."""
    gpus_unclaimed: Callable[[], bool] = lambda: False
    """Whether a card of this host works for somebody whom its driver does not name."""
    gpus: GpuAllocator = attrs.field(factory=GpuAllocator)
    """Who has which GPU."""
    wall: Callable[[], float] = time.time
    new_token: Callable[[], str] = _new_token
    environment: AgentEnvironment = attrs.field(factory=lambda: AgentEnvironment({}, ()))
