"""The interface of one process tree. How the platform does it is hidden behind it.

The order of calls is always: `Spawn`, `exited` (or not), `signal_tree`, `wait_empty` (or not),
`kill_until_empty`, `reap`. `reap` is the last one, because the leader's pid is reserved only until
then.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

import attrs
import trio

from trio_afrender.process.task_user import TaskUser
from trio_afrender.tasklog.interfaces import RunLog

__all__ = (
    "ClosedWindow",
    "ExitStatus",
    "FinalUsage",
    "Launch",
    "OutputPipe",
    "Persistence",
    "ProcessTree",
    "Spawn",
    "TreeHolder",
    "TreeSignal",
)


class TreeSignal(enum.Enum):
    """What `ProcessTree.signal_tree` can send; each platform has its own means."""

    TERM = "TERM"
    """Request to end. It resumes a suspended tree too: a suspended process does not handle it."""
    KILL = "KILL"
    SUSPEND = "SUSPEND"
    RESUME = "RESUME"


@attrs.frozen(slots=True, kw_only=True)
class Persistence:
    """Where a tree is recorded, and how long it runs without an agent. Times are in seconds."""

    record: str
    """Path without suffix, at which a later agent finds the tree, or how it ended."""
    log: str
    """Log folder of the run: the task supervisor writes the output there."""
    quota: int
    """Bytes of the log at most."""
    agent_timeout: float
    """The tree is stopped when no agent has been connected for so many seconds; 0: as soon as its
    agent has gone."""
    grace: float
    """Time between TERM and KILL when the tree is stopped without an agent."""
    attach: bool = False
    """Take over the tree, or the end of one, that is at `record`; start a new one only without."""
    folders: tuple[str, ...] = ()
    """Folders to make before the leader starts, beside that of `record`; mode 0700. Those of another
    user exist already."""


@attrs.frozen(slots=True, kw_only=True)
class Launch:
    """What to start: argv as it is (a shell's included), an existing folder, the whole environment.

    `environment` must have ``AF_TASK_TOKEN``, the random marker by which leftovers are found.
    """

    argv: tuple[str, ...]
    cwd: str
    environment: Mapping[str, str]
    nice: int = 0
    processes: int = 0
    """Processes and threads at once; the kernel refuses more. 0: no limit."""
    files: int = 0
    """Open files of each process; 0: no limit."""
    console: bool = False
    """Whether it prints on the agent's own stdout and stderr; it has no log then."""
    user: TaskUser | None = None
    """Whose processes they are; None: the agent's user's."""
    umask: int = -1
    """The umask of the leader; -1: the agent's."""
    persistence: Persistence


@attrs.frozen(slots=True, kw_only=True)
class FinalUsage:
    """What all processes of a tree have used that have ended."""

    cpu: float
    """CPU seconds."""
    peak: int
    """Largest resident memory, in bytes: of the whole tree at one moment where the kernel counts
    it, else of the largest process."""
    oom_kills: int = 0
    """Processes that the kernel killed for lack of memory, where it counts them."""
    refused_forks: int = 0
    """Processes and threads that it refused for `Launch.processes`, where it counts them."""


@attrs.frozen(slots=True, kw_only=True)
class ExitStatus:
    """How the leader of a tree ended: its exit code or its signal, and the raw wait status.

    Both are None, and `raw` is -1, when the task supervisor was killed before it reported the end.
    """

    code: int | None
    signal: int | None
    raw: int

    def __str__(self) -> str:
        if self.code is None and self.signal is None:
            return "an unknown status: its task supervisor was killed"
        return f"exit code {self.code}" if self.code is not None else f"signal {self.signal}"


@attrs.frozen(slots=True, kw_only=True)
class ClosedWindow:
    """A window of a member that was asked to close (Windows)."""

    title: str
    pid: int
    answered: bool
    """False for a window that does not answer; it is asked again."""


class OutputPipe(Protocol):
    """The pipe that carries stdout and stderr of the whole tree."""

    async def pump(self, log: RunLog) -> None:
        """Move all output into `log`; return when the last writer has closed the pipe.

        Cancelled, nothing is lost, and a later `pump` continues.
        """
        ...

    async def aclose(self) -> None: ...


class ProcessTree(Protocol):
    """A tree that has been started. The caller of `Spawn` must call `reap`, on every path."""

    @property
    def pid(self) -> int:
        """Process id of the leader, for people, parsers and meters."""
        ...

    @property
    def output(self) -> OutputPipe: ...

    async def exited(self) -> None:
        """Wait until the leader has ended. Does not reap it: its pid stays reserved."""
        ...

    # The grace after TERM waits for this, not for `exited`: a shell ends at once, and the renderer
    # below it still needs the time to save its frame.
    async def wait_empty(self) -> None:
        """Wait until no member lives, as far as the platform can see; the leader may be a zombie.

        A member in a session of its own may be missed here, never by `kill_until_empty`.
        """
        ...

    async def members(self) -> tuple[int, ...]:
        """Return the pids of the living members, the leader's first; up to half a second old.

        For usage figures: cheap enough for every few seconds, and without effect on other calls.
        Raises `OSError` where the processes cannot be read at the moment.
        """
        ...

    async def signal_tree(self, signal: TreeSignal) -> tuple[int, ...]:
        """Signal every member, in whatever session; return their pids. Safe after the exit."""
        ...

    async def kill_until_empty(self, deadline: float) -> tuple[int, ...]:
        """Kill the members repeatedly until none lives, for `deadline` seconds at most.

        Return the pids that are left (state D), () when the tree is proven empty.
        """
        ...

    # Not part of `kill_until_empty`: until the leader is reaped its pid stays reserved, so signals
    # and readings by pid cannot hit another process.
    async def reap(self) -> ExitStatus:
        """Return the leader's status, and close everything but the output. The last call."""
        ...

    @property
    def started(self) -> float | None:
        """Unix time of the start of a tree that an earlier agent started; None for a new tree."""
        ...

    @property
    def suspended(self) -> bool:
        """Whether an earlier agent had suspended the tree that was taken over."""
        ...

    @property
    def external_stop_reason(self) -> str:
        """Why the tree was stopped by neither itself nor this agent; empty if it was not."""
        ...

    @property
    def final_usage(self) -> FinalUsage | None:
        """What the tree has used, once the leader has ended; None where it was not counted."""
        ...

    @property
    def left_nothing(self) -> bool:
        """Whether the tree, once it is proven empty, is known to have neither printed anything nor
        left anything in `Persistence.folders`."""
        ...

    @property
    def closed_windows(self) -> trio.MemoryReceiveChannel[ClosedWindow] | None:
        """The windows of members that were asked to close; None where trees have no windows."""
        ...

    async def detach(self) -> bool:
        """Leave a living tree to its task supervisor; a later agent finds it at its record.

        It continues for `Persistence.agent_timeout`, then it is stopped. False where the tree has no
        task supervisor: then it must be ended. After True no method may be called.
        """
        ...


Spawn: TypeAlias = Callable[[Launch], Awaitable[ProcessTree]]
"""Start a tree. Raises `SpawnError`. Cancelled, nothing was started."""


class TreeHolder(Protocol):
    """What starts and holds the trees of one agent: the supervisor, or job objects on Windows."""

    @property
    def description(self) -> str:
        """A sentence about it for the agent's log."""
        ...

    @property
    def restarts(self) -> int:
        """How many supervisors were started in place of one that was lost."""
        ...

    @property
    def lacking(self) -> tuple[str, ...]:
        """The capabilities without which no tree can be started as another user; (): none is missing."""
        ...

    async def spawn(self, launch: Launch) -> ProcessTree:
        """As `Spawn`. Raises `StoreError` too, if the folders of the run cannot be made."""
        ...

    async def remove_folders(self, folders: Sequence[Path]) -> None:
        """Have the folders of ended runs removed. Raises nothing."""
        ...
