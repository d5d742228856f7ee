"""The grip that the dispatcher has on a run: stop it, listen to it, wait for its end."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import attrs
import trio

from trio_afrender.protocol.messages import TaskExec, TaskUsage
from trio_afrender.task.status_rules import StopCause
from trio_afrender.task.suspend import Suspension

__all__ = ("TaskControl",)

MIN_KILL_WAIT = 0.5
"""Seconds that killed processes get to be gone, whoever is in a hurry."""


@attrs.define(eq=False)
class TaskControl:
    """One run, from the moment it is accepted until its tree is empty and its outcome sent."""

    task: TaskExec
    predecessor: TaskControl | None = None
    """An older run of the same key: this one starts only when that one's tree is empty."""
    give_backs: int = 0
    inherited: bool = False
    """An earlier agent started it: its processes are taken over where they are."""
    ran_before: float = 0.0
    """Seconds that its process had run when this agent took it over."""
    leaving: bool = False
    """Its processes are left to their supervisor: a cancelled run ends nothing and says nothing."""
    suspension: Suspension = attrs.field(factory=Suspension)
    done: trio.Event = attrs.field(factory=trio.Event)
    cause: StopCause | None = None
    listening: bool = False
    """Whether somebody listens; set by `listen`."""
    pid: int | None = None
    """The leader of the process that runs now."""
    percent: int = 0
    activity: str = ""
    usage: TaskUsage | None = None
    """What the process tree uses, as it was measured last; set by `measure`."""
    passed: int = 0
    """Bytes that went through read and write calls of the tree, of any kind: a sign of life."""
    members: frozenset[tuple[int, float]] = frozenset()
    """Pid and start of each process that was measured last."""
    output: Callable[[], Awaitable[str]] | None = None
    """Reads the output so far; None until there is a log."""
    _listened: trio.Event = attrs.field(factory=trio.Event)
    _measured: trio.Event = attrs.field(factory=trio.Event)
    _scope: trio.CancelScope | None = None
    _grace_scope: trio.CancelScope | None = None
    _grace: float | None = None
    _by: float = math.inf

    def listen(self, *, on: bool) -> None:
        """Somebody on the server begins or ceases to listen to the output."""
        self.listening = on
        self._listened.set()
        self._listened = trio.Event()

    async def listened(self) -> None:
        """Wait until somebody listens."""
        while not self.listening:
            await self._listened.wait()

    def measure(
        self, usage: TaskUsage, passed: int, members: frozenset[tuple[int, float]] = frozenset()
    ) -> None:
        """The process tree has been measured."""
        self.usage, self.passed, self.members = usage, passed, members
        self._measured.set()
        self._measured = trio.Event()

    async def measured(self) -> None:
        """Wait until the process tree is measured again."""
        await self._measured.wait()

    def stop(self, cause: StopCause, grace: float | None = None, by: float | None = None) -> None:
        """Ask for the end. The first cause stays; a later call can only shorten the grace.

        One exception: a silent cause (the server wants no report) replaces a reported one. `by`, in
        trio's time, is when whoever asks will wait no longer, not even for what survives KILL.
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
                deadline = trio.current_time() + grace
                self._grace_scope.deadline = min(self._grace_scope.deadline, deadline)
        if self._scope is not None:
            self._scope.cancel()

    @contextmanager
    def stoppable(self, limit: float = math.inf) -> Iterator[trio.CancelScope]:
        """A scope that a stop cancels, at once if there has been one; or `limit` seconds do."""
        with trio.CancelScope(deadline=trio.current_time() + limit) as scope:
            self._scope = scope
            if self.cause is not None:
                scope.cancel()
            try:
                yield scope
            finally:
                self._scope = None

    def stop_budget(self, wish: float) -> float:
        """`wish` seconds, or as long as whoever asked for the end still waits."""
        return min(wish, max(self._by - trio.current_time(), MIN_KILL_WAIT))

    @contextmanager
    def in_grace(self, wish: float) -> Iterator[trio.CancelScope]:
        """A scope of `wish` seconds, or what a stop allows at the most; a second stop cuts it."""
        seconds = wish if self._grace is None else min(wish, self._grace)
        with trio.CancelScope(deadline=trio.current_time() + seconds) as scope:
            self._grace_scope = scope
            try:
                yield scope
            finally:
                self._grace_scope = None
