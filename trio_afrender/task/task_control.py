"""What may be asked of a run from outside: stop, suspend, listen, leave. Holds no state of the run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import final

import attrs
import trio

from trio_afrender.async_helpers import RepeatedEvent
from trio_afrender.task.status_rules import StopCause

__all__ = ("Suspension", "TaskControl")

MIN_KILL_WAIT = 0.5
"""Seconds that killed processes always get to end, however soon the caller of `stop` needs it."""


@final
class Suspension:
    """Whether a run is to be suspended, and for how long it has been. True while it is.

    The request belongs to the run and not to a process: a post command that starts during a
    suspension is suspended too (`monitors.suspension`).
    """

    def __init__(self) -> None:
        self.reason: str = ""
        """Why the run is to be suspended; empty: it is to run."""
        self.ended: float = float("-inf")
        """When it was last resumed, in trio's time."""
        self._since = 0.0
        self._total = 0.0
        self._changed = RepeatedEvent()

    def __bool__(self) -> bool:
        return bool(self.reason)

    def change(self, reason: str) -> None:
        """Request a suspension for that reason, or '' to resume."""
        # The first reason stays: a second request to suspend asks for nothing new.
        if bool(reason) == bool(self.reason):
            return
        now = trio.current_time()
        if reason:
            self._since = now
        else:
            self._total += now - self._since
            self.ended = now
        self.reason = reason
        self._changed.set()

    def seconds(self) -> float:
        """Return for how long the run has been suspended in all, the current suspension included."""
        return self._total + (trio.current_time() - self._since if self.reason else 0.0)

    async def changed(self) -> None:
        """Wait for the next change of the requested state."""
        await self._changed.wait()

    async def over(self) -> None:
        """Wait until the run is to run."""
        await trio.lowlevel.checkpoint()
        while self.reason:
            await self._changed.wait()


@attrs.define(eq=False)
class TaskControl:
    """The requests to one run, and the scopes in which the run waits for them."""

    suspension: Suspension = attrs.field(factory=Suspension)
    cause: StopCause | None = None
    """Why the run is to stop; set by `stop`."""
    leaving: bool = False
    """If cancelled, the run leaves its tree to the supervisor: it ends nothing and sends nothing."""
    listening: bool = False
    """Whether a client of the server listens to the output; set by `listen`."""
    _on_listen: Callable[[], None] | None = None
    _scope: trio.CancelScope | None = None
    _grace_scope: trio.CancelScope | None = None
    _grace: float | None = None
    _by: float = math.inf
    _later: StopCause | None = None
    """The first stop that was requested after `cause`, for `clear_stop`."""

    @property
    def discards_outcome(self) -> bool:
        """Whether nothing more of the run may be sent to the server."""
        return self.cause is not None and self.cause.kind.discards_outcome

    def listen(self, *, on: bool) -> None:
        """Begin or end sending the output to listeners."""
        self.listening = on
        if on and self._on_listen is not None:
            self._on_listen()

    def when_listened(self, start: Callable[[], None] | None) -> None:
        """Have `start` called whenever there is a listener, at once if there is one; None: no more."""
        self._on_listen = start
        if self.listening and start is not None:
            start()

    def leave(self) -> None:
        """Make a cancellation leave the tree to the supervisor."""
        self.leaving = True

    def stop(self, cause: StopCause, grace: float | None = None, by: float | None = None) -> None:
        """Stop the run. The first cause stays; a later call can only shorten the grace.

        One exception: a cause that discards the outcome replaces one that does not, because from
        then on a report would be wrong. `grace` is in seconds. `by`, in trio's time, is the latest
        moment until which the run waits for processes that survive KILL.
        """
        # Also of a call that changes nothing else: an agent that exits may have less time than the
        # stop before it had.
        if by is not None:
            self._by = min(by, self._by)
        if self.cause is None or (cause.kind.discards_outcome and not self.discards_outcome):
            self.cause = cause
        elif self._later is None and cause.kind.requested:
            self._later = cause
        if grace is not None:
            self._grace = grace if self._grace is None else min(grace, self._grace)
            if self._grace_scope is not None:
                # The grace has begun (test_a_second_stop_can_only_shorten_the_grace).
                deadline = trio.current_time() + grace
                self._grace_scope.deadline = min(self._grace_scope.deadline, deadline)
        if self._scope is not None:
            self._scope.cancel()

    def clear_stop(self) -> None:
        """Take back a stop that has done its work, so that what follows the process is not stopped.

        One that was requested after it counts from now on; a limit that the process reached while it
        ended does not.
        """
        self.cause, self._later = self._later, None

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
                # A stop from now on cancels nothing; the next `stoppable` finds its cause.
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
