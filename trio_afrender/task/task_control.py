"""The dispatcher's control of a run: stop it, suspend it, listen to it, wait for its end."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import attrs
import trio

from trio_afrender.async_helpers import RepeatedEvent
from trio_afrender.protocol.messages import TaskExec, TaskUsage
from trio_afrender.task.status_rules import StopCause
from trio_afrender.task.suspend import Suspension

__all__ = ("TaskControl",)

MIN_KILL_WAIT = 0.5
"""Seconds that killed processes always get to end, however soon the caller of `stop` needs it."""


@attrs.define(eq=False)
class TaskControl:
    """One run, from the moment it is accepted until its tree is empty and its outcome sent."""

    task: TaskExec
    predecessor: TaskControl | None = None
    """An older run of the same key: this one starts only when the tree of that one is empty."""
    give_backs: int = 0
    """How often in a row this host has given this task back before."""
    inherited: bool = False
    """An earlier agent started it: its process tree is taken over."""
    ran_before: float = 0.0
    """Seconds that its process had run when this agent took it over."""
    leaving: bool = False
    """If cancelled, the run leaves its tree to the supervisor: it ends nothing and sends nothing."""
    suspension: Suspension = attrs.field(factory=Suspension)
    done: trio.Event = attrs.field(factory=trio.Event)
    cause: StopCause | None = None
    listening: bool = False
    """Whether a client of the server listens to the output; set by `listen`."""
    pid: int | None = None
    """The leader of the tree that runs now."""
    percent: int = 0
    activity: str = ""
    usage: TaskUsage | None = None
    """What the tree uses, as measured last; set by `measure`."""
    io_bytes: int = 0
    """Bytes in read and write calls of the tree, pipes and caches included: shows activity."""
    members: frozenset[tuple[int, float]] = frozenset()
    """Pid and start time of each process measured last."""
    output: Callable[[], Awaitable[str]] | None = None
    """Reads the output so far; None while there is no log."""
    _listened: RepeatedEvent = attrs.field(factory=RepeatedEvent)
    _measured: RepeatedEvent = attrs.field(factory=RepeatedEvent)
    _scope: trio.CancelScope | None = None
    _grace_scope: trio.CancelScope | None = None
    _grace: float | None = None
    _by: float = math.inf

    def listen(self, *, on: bool) -> None:
        """Begin or end sending the output to listeners."""
        self.listening = on
        self._listened.set()

    async def listened(self) -> None:
        """Wait until there is a listener."""
        while not self.listening:
            await self._listened.wait()

    def measure(
        self, usage: TaskUsage, io_bytes: int, members: frozenset[tuple[int, float]] = frozenset()
    ) -> None:
        """Note a measurement of the process tree, and wake the tasks that wait for one."""
        self.usage, self.io_bytes, self.members = usage, io_bytes, members
        self._measured.set()

    async def measured(self) -> None:
        """Wait for the next measurement of the process tree."""
        await self._measured.wait()

    def stop(self, cause: StopCause, grace: float | None = None, by: float | None = None) -> None:
        """Stop the run. The first cause stays; a later call can only shorten the grace.

        One exception: a cause that discards the outcome replaces one that does not, because from
        then on a report would be wrong. `grace` is in seconds. `by`, in trio's time, is the latest
        moment until which the run waits for processes that survive KILL.
        """
        if by is not None:
            self._by = min(by, self._by)
        if self.cause is None or (
            cause.kind.discards_outcome and not self.cause.kind.discards_outcome
        ):
            self.cause = cause
        if grace is not None:
            self._grace = grace if self._grace is None else min(grace, self._grace)
            if self._grace_scope is not None:
                # The grace has begun (test_a_second_stop_can_only_shorten_the_grace).
                deadline = trio.current_time() + grace
                self._grace_scope.deadline = min(self._grace_scope.deadline, deadline)
        if self._scope is not None:
            self._scope.cancel()

    @contextmanager
    def stoppable(self, limit: float = math.inf) -> Iterator[trio.CancelScope]:
        """Open a scope that is cancelled by a stop, at once if there has been one, or after `limit`
        seconds. Only one at a time."""
        with trio.CancelScope(deadline=trio.current_time() + limit) as scope:
            self._scope = scope
            # A stop that came before the scope was opened has cancelled nothing.
            if self.cause is not None:
                scope.cancel()
            try:
                yield scope
            finally:
                self._scope = None

    def stop_budget(self, seconds: float) -> float:
        """Return `seconds`, or what the earliest `by` of all stops leaves of them."""
        return min(seconds, max(self._by - trio.current_time(), MIN_KILL_WAIT))

    @contextmanager
    def in_grace(self, grace: float) -> Iterator[trio.CancelScope]:
        """Open a scope of `grace` seconds, or less if a stop asked for less; a later stop can shorten
        it while it is open."""
        seconds = grace if self._grace is None else min(grace, self._grace)
        with trio.CancelScope(deadline=trio.current_time() + seconds) as scope:
            self._grace_scope = scope  # `stop` moves its deadline
            try:
                yield scope
            finally:
                self._grace_scope = None
