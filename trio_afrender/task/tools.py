"""Everything that a run uses outside of itself, in one object, so that tests can replace each part."""

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


async def _examine_nothing(_pids: Collection[int]) -> ProcessReport:
    await trio.lowlevel.checkpoint()
    return ProcessReport()


async def _dismiss_nothing(_task: TaskExec) -> None:
    await trio.lowlevel.checkpoint()


class ProcessUsageReader(Protocol):
    """Measures single processes."""

    async def read(self, pids: Collection[int]) -> tuple[ProcessUsage, ...]:
        """Return the usage of those that exist, zombies too; () when reading takes too long."""
        ...

    def read_usage_now(self, pid: int) -> ProcessUsage | None:
        """Return what a process has used, which may be a zombie already. Does not block."""
        ...

    async def largest(self) -> tuple[ProcessUsage, ...]:
        """Return the processes of the host with the most memory, the largest first."""
        ...

    def shares(self) -> Mapping[int, GpuShare]:
        """Return the GPU usage of processes by pid, as measured last."""
        ...


# The default where nothing can be measured: a run then has no usage, and is never found stuck.
class NoUsageReader:
    """A `ProcessUsageReader` that measures nothing."""

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
    """The parts with side effects, and the settings. Closed by what opened them, not by the run."""

    config: Config
    spawn: Spawn
    plugins: PluginRunner
    open_run_folder: OpenRunFolder
    adopt: Callable[[ProcessTree, tuple[int, ...]], None]
    """Takes over a tree with pids that survived KILL, and reaps it when they have ended."""
    dismiss: Callable[[TaskExec], Awaitable[None]] = _dismiss_nothing
    """Ends the trees of a run that a supervisor still holds for an earlier agent. Limited in time."""
    resources: Callable[[], str] = lambda: ""
    """The host's load as JSON text, for parsers."""
    usage_reader: ProcessUsageReader = attrs.field(factory=NoUsageReader)
    read_headroom: ReadHeadroom = lambda: MemoryHeadroom(available=1, total=1)
    """Returns how much memory the host has left."""
    image_worker: ImageWorker | None = None
    """Reads images; None: thumbnails are made by shell commands, rendered images are not checked."""
    period: Callable[[], float] = lambda: 5.0
    """Returns the seconds between two measurements of a task's tree."""
    examine: Examine = _examine_nothing
    """Reports what inactive processes wait for."""
    gpus_unclaimed: Callable[[], bool] = lambda: False
    """Whether a GPU of this host is in use by a process that its driver does not name."""
    gpus: GpuAllocator = attrs.field(factory=GpuAllocator)
    """Assigns GPUs to tasks."""
    wall: Callable[[], float] = time.time
    """Returns Unix time."""
    new_token: Callable[[], str] = lambda: secrets.token_hex(16)
    """Returns a random ``AF_TASK_TOKEN``."""
    environment: AgentEnvironment = attrs.field(factory=lambda: AgentEnvironment({}, ()))
