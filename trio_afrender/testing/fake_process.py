"""Process trees in memory, for tests in virtual time.

    spawn = FakeSpawn()
    ...                                    # code under test calls spawn(launch)
    child = await spawn.next()
    await child.write(b"frame 1\\n")
    child.exit(0)

A fake passes the same contract test as a real process tree.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import final

import attrs
import trio
from trio.testing import memory_stream_one_way_pair

from trio_afrender.async_helpers import RepeatedEvent
from trio_afrender.errors import SpawnError
from trio_afrender.process.interfaces import (
    ClosedWindow,
    ExitStatus,
    FinalUsage,
    Launch,
    TreeSignal,
)
from trio_afrender.tasklog.interfaces import RunLog
from trio_afrender.tasklog.memory_log import MemoryLog

__all__ = ("FakeChild", "FakeOutput", "FakeSpawn")

TERM, KILL = TreeSignal.TERM, TreeSignal.KILL
# Numbers of Linux: Windows has no names for most of them.
SIGNAL_NUMBERS = {
    TERM: 15,
    KILL: 9,
    TreeSignal.SUSPEND: 19,
    TreeSignal.RESUME: 18,
}


@final
class FakeOutput:
    """The output pipe of a fake process: `pump` reads what the test writes, when it writes it."""

    def __init__(self) -> None:
        self._sending, self._receiving = memory_stream_one_way_pair()
        self._closed = False

    async def pump(self, log: RunLog) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this pipe has been closed")
        if not isinstance(log, MemoryLog):
            raise TypeError("a fake process prints into a log in memory")
        while data := await self._receiving.receive_some():
            # Bytes that were taken from the pipe must reach the log, also when this is cancelled.
            with trio.CancelScope(shield=True):
                await log.append(bytes(data))

    async def aclose(self) -> None:
        self._closed = True
        await self._receiving.aclose()

    async def send(self, data: bytes) -> None:
        await self._sending.send_all(data)

    def end(self) -> None:
        self._sending.close()


@attrs.define(eq=False)
class _Member:
    """A process beside the leader."""

    dies_of: set[TreeSignal]
    holds_output: bool
    gone: trio.Event = attrs.field(factory=trio.Event)


@attrs.define(eq=False)
class FakeChild:
    """A process tree controlled by a test: it prints, forks and exits when the test says so."""

    launch: Launch
    pid: int
    dies_of: set[TreeSignal] = attrs.field(factory=lambda: {TERM, KILL})
    """Signals that end the leader. Without TERM: a program that ignores it, or saves first."""
    started: float | None = None
    """Unix time at which an earlier agent started it; None: this agent has started it."""
    left_nothing: bool = False
    closed_windows: trio.MemoryReceiveChannel[ClosedWindow] | None = None
    """Whether the tree reports at its end that it has printed nothing and left no files."""
    leftovers: tuple[int, ...] = ()
    """Pids that KILL does not end: `kill_until_empty` waits for its deadline and returns them."""
    signals: list[tuple[float, str]] = attrs.field(init=False, factory=list)
    """(virtual time, "TERM" or "KILL") for each signal that reached a living member."""
    output: FakeOutput = attrs.field(init=False, factory=FakeOutput)
    reaped: bool = attrs.field(init=False, default=False)
    _others: dict[int, _Member] = attrs.field(init=False, factory=dict)
    _status: ExitStatus | None = attrs.field(init=False, default=None)
    _exit: trio.Event = attrs.field(init=False, factory=trio.Event)
    _received: dict[TreeSignal, trio.Event] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._received = {each: trio.Event() for each in TreeSignal}

    # For the test

    async def write(self, data: bytes) -> None:
        """Print `data`. Does not wait for a reader."""
        await self.output.send(data)

    def close_output(self) -> None:
        """Close the output while the tree continues, as a daemon does."""
        self.output.end()

    def exit(self, code: int = 0, *, signal: int | None = None) -> None:
        """End the leader, unless it has ended. The output ends unless a fork holds it."""
        if self._status is None:
            if signal is None:
                self._status = ExitStatus(code=code, signal=None, raw=code << 8)
            else:
                self._status = ExitStatus(code=None, signal=signal, raw=signal)
            self._exit.set()
            self._end_output()

    def fork(self, dies_of: Iterable[TreeSignal] = (KILL,), *, holds_output: bool = True) -> int:
        """Add a process to the tree, which lives until a signal or `end`; return its pid."""
        pid = self.pid + len(self._others) + 1
        self._others[pid] = _Member(set(dies_of), holds_output)
        return pid

    def hold_output(self) -> int:
        """Add a process that holds the output until KILL, such as a helper left behind."""
        return self.fork()

    def end(self, pid: int) -> None:
        """End a process that `fork` added."""
        self._others[pid].gone.set()
        self._end_output()

    async def signalled(self, signal: TreeSignal = TERM) -> None:
        """Wait until the tree has been sent `signal`."""
        await self._received[signal].wait()

    # For the code under test: `ProcessTree`

    @property
    def suspended(self) -> bool:
        return False

    @property
    def external_stop_reason(self) -> str:
        return ""

    @property
    def final_usage(self) -> FinalUsage | None:
        return None

    async def detach(self) -> bool:
        await trio.lowlevel.checkpoint()
        return False

    async def exited(self) -> None:
        await self._exit.wait()

    async def wait_empty(self) -> None:
        await self._exit.wait()
        for member in list(self._others.values()):
            await member.gone.wait()

    async def members(self) -> tuple[int, ...]:
        await trio.lowlevel.checkpoint()
        return self._living()

    async def signal_tree(self, signal: TreeSignal) -> tuple[int, ...]:
        await trio.lowlevel.checkpoint()
        living = self._living()
        if not living:
            return ()
        self.signals.append((trio.current_time(), signal.value))
        self._received[signal].set()
        for pid, member in self._others.items():
            if signal in member.dies_of and pid not in self.leftovers:
                member.gone.set()
        if signal in self.dies_of and self.pid not in self.leftovers:
            self.exit(signal=SIGNAL_NUMBERS[signal])
        self._end_output()
        return living

    async def kill_until_empty(self, deadline: float) -> tuple[int, ...]:
        await self.signal_tree(KILL)
        with trio.move_on_after(deadline):
            await self.wait_empty()
            if self.leftovers:
                await trio.sleep_forever()
        return tuple(sorted({*self.leftovers, *self._living()}))

    async def reap(self) -> ExitStatus:
        await self._exit.wait()
        assert self._status is not None  # noqa: S101 - set with the event
        self.reaped = True
        return self._status

    def _living(self) -> tuple[int, ...]:
        leader = () if self._exit.is_set() else (self.pid,)
        return (*leader, *(pid for pid, each in self._others.items() if not each.gone.is_set()))

    def _end_output(self) -> None:
        held = any(each.holds_output and not each.gone.is_set() for each in self._others.values())
        if self._exit.is_set() and not held:
            self.output.end()


@final
class FakeSpawn:
    """A `Spawn` that makes fakes, which the test controls."""

    def __init__(self, *, dies_of: Iterable[TreeSignal] = (TERM, KILL)) -> None:
        self.dies_of: frozenset[TreeSignal] = frozenset(dies_of)
        """`dies_of` of new fakes."""
        self.started: float | None = None
        """`started` of new fakes."""
        self.launches: list[Launch] = []
        self.children: list[FakeChild] = []
        self._pids = count(1000, 100)
        self._problem = ""
        self._taken = 0
        self._spawned = RepeatedEvent()

    def fail(self, problem: str) -> None:
        """Let each further spawn raise `SpawnError` with that text; '': spawn again."""
        self._problem = problem

    async def __call__(self, launch: Launch) -> FakeChild:
        """Make a fake. Like a real spawn, raises `SpawnError` without AF_TASK_TOKEN."""
        await trio.lowlevel.checkpoint()
        self.launches.append(launch)
        if self._problem:
            raise SpawnError(self._problem)
        if not launch.environment.get("AF_TASK_TOKEN"):
            raise SpawnError("the environment of a task must hold AF_TASK_TOKEN")
        child = FakeChild(launch, next(self._pids), set(self.dies_of), self.started)
        self.children.append(child)
        self._spawned.set()
        return child

    async def next(self) -> FakeChild:
        """Wait for the next fake, in the order of their spawns. Returns each once."""
        while self._taken == len(self.children):
            await self._spawned.wait()
        self._taken += 1
        return self.children[self._taken - 1]
