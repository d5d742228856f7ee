"""One process tree, as supervision sees it. The kernel's ways stay behind this seam.

The order of calls is always: spawn, `exited` (or not), `signal_tree`, `vacated` (or not), `empty`, `reap`. `reap`
is last because a pid names our process only until then.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeAlias

import attrs

from trio_afrender.tasklog.interfaces import RunLog

__all__ = (
    "ExitStatus",
    "FinalUsage",
    "Launch",
    "OutputPipe",
    "Persistence",
    "ProcessTree",
    "Spawn",
    "TreeSignal",
)


class TreeSignal(enum.Enum):
    """What can be sent to a tree; how it is done is the platform's business."""

    TERM = "TERM"
    """And a resume: what is suspended could not obey."""
    KILL = "KILL"
    SUSPEND = "SUSPEND"
    RESUME = "RESUME"


@attrs.frozen(slots=True, kw_only=True)
class Persistence:
    """How a tree outlives its agent, where something can hold it meanwhile. Seconds."""

    record: str
    """Path without suffix: below it a later agent finds the tree, or how it ended."""
    log: str
    """The run's log folder: the output goes there without the agent."""
    quota: int
    agent_timeout: float
    """The tree is stopped when no agent has been connected for so many seconds."""
    grace: float
    """Between TERM and KILL when there is no agent to say."""
    attach: bool = False
    """Take over what stands at `record`, if anything does, instead of starting anew."""


@attrs.frozen(slots=True, kw_only=True)
class Launch:
    """What to start: argv as it is (a shell's included), an existing folder, the whole environment.

    `environment` must hold ``AF_TASK_TOKEN``, the random marker by which strays are found.
    """

    argv: tuple[str, ...]
    cwd: str
    environment: Mapping[str, str]
    nice: int = 0
    console: bool = False
    """Whether it prints on our own stdout and stderr; its pipe is empty then."""
    persistence: Persistence | None = None
    """None: the tree ends with its agent, and the agent reads its output."""


@attrs.frozen(slots=True, kw_only=True)
class FinalUsage:
    """The last word on a tree: of all its processes that have ended."""

    cpu: float
    """Seconds."""
    peak: int
    """Bytes resident at the highest moment: of the whole tree where the kernel tells, else of its
    largest process."""
    oom_kills: int = 0
    """Processes that the kernel killed for lack of memory, as far as it tells."""


@attrs.frozen(slots=True, kw_only=True)
class ExitStatus:
    """How the leader of the tree ended: an exit code or a signal, and the raw wait status.

    Neither, and -1 raw, when the host application took the status with a `waitpid` of its own.
    """

    code: int | None
    signal: int | None
    raw: int

    def __str__(self) -> str:
        if self.code is None and self.signal is None:
            return "an unknown status, taken by another part of this program"
        return f"exit code {self.code}" if self.code is not None else f"signal {self.signal}"


class OutputPipe(Protocol):
    """The one pipe that carries stdout and stderr of the whole tree."""

    async def pump(self, log: RunLog) -> None:
        """Move everything into `log` until all writers are gone. Safe to cancel: nothing is lost
        that was moved, and a later `pump` goes on."""
        ...

    async def aclose(self) -> None: ...


class ProcessTree(Protocol):
    """A spawned tree. Whoever spawned it calls `reap`, whatever happens."""

    @property
    def pid(self) -> int:
        """The leader's process id, for people, parsers and meters."""
        ...

    @property
    def output(self) -> OutputPipe: ...

    async def exited(self) -> None:
        """Wait until the leader has ended. Does not reap it: its pid stays ours."""
        ...

    async def wait_empty(self) -> None:
        """Wait until no member lives but the leader's zombie, as far as the platform can see.

        For the grace after TERM: a shell that dies at once must not cost the renderer below it
        the time to save its frame. Escapees of escapees may be missed here; `empty` finds them.
        """
        ...

    async def members(self) -> tuple[int, ...]:
        """Return the pids of the tree that live, the leader's first, as of half a second ago.

        For figures: cheap enough for every few seconds, and safe beside all the other calls, of
        which it changes nothing. Raises `OSError` where nothing can be seen at the moment.
        """
        ...

    async def signal_tree(self, signal: TreeSignal) -> tuple[int, ...]:
        """Signal every member we can find, escapees too; return whom. Safe after the exit."""
        ...

    async def kill_until_empty(self, deadline: float) -> tuple[int, ...]:
        """Kill what is left, again and again, until nothing lives; at most `deadline` seconds.

        Return the pids that are still there (state D), () when the tree is proven empty.
        """
        ...

    async def reap(self) -> ExitStatus:
        """Collect the leader's status and give back every descriptor but the pipe. Last call."""
        ...

    @property
    def started(self) -> float | None:
        """Unix time of the start of a tree that an earlier agent started; None for one of ours."""
        ...

    @property
    def suspended(self) -> bool:
        """Whether an earlier agent had suspended it, and nobody has resumed it since."""
        ...

    @property
    def external_stop_reason(self) -> str:
        """Why the tree was ended, when neither it nor we did that; empty else."""
        ...

    @property
    def final_usage(self) -> FinalUsage | None:
        """What all processes of the tree have used, known once the leader has ended; None where
        nobody counted."""
        ...

    async def detach(self) -> bool:
        """Let go of a living tree that is held without us: a later agent finds it at its record.

        False where nothing holds it: then it must be ended. After True nothing may be called.
        """
        ...


Spawn: TypeAlias = Callable[[Launch], Awaitable[ProcessTree]]
"""Start a tree. Raises `SpawnError`; cancelled, nothing was started."""
