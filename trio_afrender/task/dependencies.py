"""What runs use outside of themselves, in one object, so that tests can replace each part."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Protocol

import attrs
import trio

from trio_afrender.hostinfo.memory import ReadHeadroom, RecentHeadroom
from trio_afrender.hostinfo.process_inspection import Examine
from trio_afrender.hostinfo.process_usage import GpuShare, ProcessUsage
from trio_afrender.plugins.interfaces import PluginRunner
from trio_afrender.process.interfaces import Spawn
from trio_afrender.process.task_user import TaskUser
from trio_afrender.protocol.messages import TaskExec
from trio_afrender.task.gpu_slots import GpuAllocator
from trio_afrender.task.image_worker import ImageWorker
from trio_afrender.task.run_folder import OpenRunFolder
from trio_afrender.task.task_environment import AgentEnvironment
from trio_afrender.task.usage_batches import UsageBatches

__all__ = ("ProcessUsageReader", "RunRecorder", "TaskDependencies")


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


class RunRecorder(Protocol):
    """Writes down which tasks an agent has accepted: the next agent takes over the trees of these."""

    def write_now(self) -> None:
        """Have what was accepted written without a delay."""
        ...

    async def wait_written(self) -> None:
        """Wait until that is done, or for a moment on a disk that is slow. No checkpoint if it is done."""
        ...


class _NoRecorder:
    def write_now(self) -> None:
        pass

    async def wait_written(self) -> None:
        pass


@attrs.frozen(kw_only=True, eq=False)
class TaskDependencies:
    """The part of an agent's dependencies that its runs use. Closed by what opened them.

    An agent has one object, `AgentDependencies`, which extends this class by what the agent alone
    uses. That part names types of the journal and of the takeover, and this package may not import
    the agent: hence a base class here and a subclass there.

    The last four fields belong to the agent itself and not to the host. It sets them in the object
    that was opened for it (`attrs.evolve`).
    """

    spawn: Spawn
    plugins: PluginRunner
    open_run_folder: OpenRunFolder
    find_user: Callable[[TaskExec, bool], Awaitable[TaskUser | None]]
    """Returns the user as which the processes of a run run, None for the agent's own; True: an earlier
    agent started it. Raises `TaskUserError`."""
    dismiss: Callable[[TaskExec], Awaitable[None]]
    """Ends the trees of a run that a supervisor still holds for an earlier agent. Limited in time."""
    recorder: RunRecorder = attrs.field(factory=_NoRecorder)
    """The journal, as far as runs use it."""
    usage_reader: ProcessUsageReader
    """Measures the processes of tasks."""
    usage_batches: UsageBatches = attrs.field(init=False)
    """Calls `usage_reader.read` for all runs that measure at the same moment."""
    read_headroom: ReadHeadroom
    """Returns how much memory the host has left. Called by `headroom` only."""
    headroom: RecentHeadroom = attrs.field(init=False)
    """What `read_headroom` returns, shared by all runs and the memory guard."""
    examine: Examine
    """Reports what inactive processes wait for."""
    gpus_unclaimed: Callable[[], bool]
    """Whether a GPU of this host is in use by a process that its driver does not name."""
    run_token: Callable[[str], str]
    """Returns the ``AF_TASK_TOKEN`` of a run, by its id: the same one for a later agent."""
    probe: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
    """Makes a process, a thread, descriptors and a file. Raises what `errors.is_exhausted` knows where
    the host has too little for one of them."""
    image_worker: ImageWorker | None = None
    """Reads images; None: thumbnails are made by shell commands, rendered images are not checked."""
    image_worker_of: Callable[[TaskUser], ImageWorker] | None = None
    """Returns the image worker for runs of another user, where there is an `image_worker`."""
    wall: Callable[[], float] = time.time
    """Returns Unix time."""
    gpus: GpuAllocator = attrs.field(factory=GpuAllocator)
    """Assigns GPUs to tasks."""
    resources: Callable[[], str] = lambda: ""
    """Returns the host's load as JSON text, for parsers."""
    period: Callable[[], float] = lambda: 5.0
    """Returns the seconds between two measurements of a task's tree."""
    environment: AgentEnvironment = attrs.field(factory=lambda: AgentEnvironment({}, ()))
    """The agent's variables as tasks inherit them."""

    @usage_batches.default
    def _make_batches(self) -> UsageBatches:
        return UsageBatches(self.usage_reader.read)

    @headroom.default
    def _make_headroom(self) -> RecentHeadroom:
        return RecentHeadroom(self.read_headroom)
