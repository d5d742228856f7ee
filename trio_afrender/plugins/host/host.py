"""One plugin host process: the calls under way in it, and what ends it.

There are two kinds. The *shared* host runs the objects of all runs that use our own plugins alone,
a thread each. An *own* host runs the objects of one run that names foreign code. So a call that
hangs in an own host, or memory that it takes, is that run's fault by construction. A failure of the
shared host has no culprit: the runs with a call under way continue in own hosts, where the next
failure has one.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import trio

from trio_afrender.config.settings import PluginSettings
from trio_afrender.errors import PluginError, ProtocolError
from trio_afrender.plugins.host.connection import HostProcess, open_host_process
from trio_afrender.plugins.host.forkserver import ForkServers
from trio_afrender.plugins.host.host_protocol import (
    CallLimits,
    HostFailure,
    HostReply,
    Request,
    dump_plugin_settings,
    read_reply,
)

if TYPE_CHECKING:
    from trio_afrender.plugins.host.spawned_host import SpawnedHost

__all__ = ("HostDied", "PendingCall", "PluginHost", "restart_delay", "run_plugin_host")

logger: logging.Logger = logging.getLogger(__name__)

SLOW_CALL_FACTOR = 3
"""Time limits that a call may take when it gets no processor time, or shares its host."""
MIN_CPU_SHARE = 0.3
"""Share of a processor below which a process that could run counts as not let run."""
MAX_STUCK_CALLS = 4
"""Threads of the shared host that may be lost to hanging calls before it is replaced."""
FREE_RESTARTS = 3
RESTART_WINDOW = 60.0
MAX_RESTART_DELAY = 5.0


class HostDied(Exception):
    """The host has ended, or is about to, and takes no call."""


def restart_delay(ends: Sequence[float], now: float) -> float:
    """Seconds to wait before a host is started, given the times at which earlier ones failed.

    The first `FREE_RESTARTS` within `RESTART_WINDOW` seconds cost no delay.
    """
    recent = sum(1 for end in ends if now - end <= RESTART_WINDOW)
    if recent <= FREE_RESTARTS:
        return 0.0
    return min(MAX_RESTART_DELAY, 0.25 * 2.0 ** (recent - FREE_RESTARTS - 1))


@attrs.define(eq=False)
class PendingCall:
    """A call under way. `on_done` is called once, by the host's tasks, before `done` is set."""

    run: int
    request: Request
    started: float
    on_done: Callable[[PendingCall], None]
    done: trio.Event = attrs.field(factory=trio.Event)
    reply: HostReply | None = None
    failure: HostFailure | None = None
    """Why there will be no reply."""
    cpu_seen: float | None = None
    """Seconds of processor time of the process when this call was first checked."""
    checked_at: float = 0.0

    def finish(self) -> None:
        self.on_done(self)
        self.done.set()


class PluginHost:
    """A host that is up. Made by `run_plugin_host`, which also ends it."""

    def __init__(
        self, process: HostProcess | SpawnedHost, limits: CallLimits, *, shared: bool
    ) -> None:
        self.process = process
        self.shared = shared
        self.failure: HostFailure | None = None
        """Set as soon as the host takes no more calls, which may be long before it has ended."""
        self.was_up: bool = False
        self.ended: trio.Event = trio.Event()
        """Set when the process has ended and all its calls are finished."""
        self._limits = limits
        self._up = trio.Event()
        self._failed = trio.Event()
        self._exited = trio.Event()
        self._calls: dict[int, PendingCall] = {}  # by number, so the oldest comes first
        self._runs: set[int] = set()  # whose objects it may hold
        self._number = 0
        self._threads: dict[int, int] = {}
        self._stuck_calls = 0
        self._ping: tuple[int, float] | None = None
        self._rest = trio.CancelScope()

    # -- calls ----------------------------------------------------------------------------------

    def call(
        self, run: int, request: Request, on_done: Callable[[PendingCall], None]
    ) -> PendingCall:
        """Send a request and return at once. Raises `HostDied`, `ProtocolError` (too large).

        Requests of one run are worked off in order. The caller may go away: the call continues.
        """
        if self.failure is not None:
            raise HostDied
        # Raised before anything is noted: a request that is too large leaves no trace.
        self._number += 1
        self.process.send({"id": self._number, "op": request.op, "run": run, **request.fields})
        self._runs.add(run)
        pending = PendingCall(run, request, trio.current_time(), on_done)
        if not self._calls:  # else `_watch_calls` is awake, or wakes up for an older call
            self._rest.deadline = pending.started + self._limits.check_interval
        self._calls[self._number] = pending
        return pending

    def forget(self, run: int) -> None:
        """Drop the objects of a run after its calls under way. Does not wait."""
        if run in self._runs:
            self._runs.discard(run)
            self._threads.pop(run, None)
            if self.failure is None:
                # Sent together with the next message: it is not worth waking the process for.
                self.process.send_later({"op": "close", "run": run})

    def close(self) -> None:
        """End the host, because it is not needed any more. Does not wait."""
        self._fail(HostFailure("is not needed any more", retired=True))

    # -- life -----------------------------------------------------------------------------------

    async def run(
        self,
        settings: PluginSettings,
        folders: Sequence[Path],
        task_status: trio.TaskStatus[PluginHost],
        user: Mapping[str, object] | None = None,
    ) -> None:
        """Serve the process until it fails or is closed. Raises `PluginError` if it never was up."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.process.listen)
            nursery.start_soon(self.process.write)
            nursery.start_soon(self._receive)
            nursery.start_soon(self._watch_process)
            nursery.start_soon(self._watch_calls)
            # Before the hello: the host reads it as soon as it is up.
            self.process.send(
                {
                    "op": "setup",
                    "settings": dump_plugin_settings(settings),
                    "folders": [str(folder) for folder in folders],
                    "memory": self._limits.memory,
                    "shared": self.shared,
                    "time": self._limits.time,
                    "user": user,
                }
            )
            with trio.move_on_after(self._limits.start):
                await self._up.wait()  # also set by a failure
            if not self._up.is_set():
                self._fail(HostFailure(f"did not come up within {self._limits.start:g} s"))
            elif self.failure is None:
                self.was_up = True
                task_status.started(self)
                await self._failed.wait()
            failure = self.failure
            assert failure is not None  # noqa: S101 - `_failed` or a start that failed
            if not failure.retired:
                # Only the living process can tell where it hangs; what it printed may still come.
                if failure.run is not None and failure.run in self._threads:
                    details = await self.process.where_is(self._threads[failure.run])
                else:
                    with trio.move_on_after(self._limits.exit):
                        await self.process.printed_all.wait()
                    details = self.process.printed
                self.failure = attrs.evolve(failure, details=details)
            nursery.cancel_scope.cancel()

    def release(self) -> None:
        """Finish all calls, once the process has ended: their runs may build their objects anew."""
        # Also where an error or a cancellation has ended it: else its next caller would send to it.
        failure = self.failure = self.failure or HostFailure("was ended")
        calls, self._calls = self._calls, {}
        for pending in calls.values():
            pending.failure = failure
            pending.finish()
        self.ended.set()

    def add_to_failure(self, text: str) -> None:
        """Add to the sentence on the failure what is known only after the process has ended."""
        assert self.failure is not None  # noqa: S101 - called after `run`
        self.failure = attrs.evolve(self.failure, text=f"{self.failure.text} ({text})")

    def _fail(self, failure: HostFailure) -> None:
        """Take no more calls. The first failure counts: later ones follow from it."""
        if self.failure is None:
            self.failure = failure
            self._failed.set()
            self._up.set()  # `run` may still wait for the start

    # -- what the host sends --------------------------------------------------------------------

    async def _receive(self) -> None:
        try:
            while self.failure is None and (messages := await self.process.receive()):
                for message in messages:
                    self._take(message)
        except ProtocolError as error:
            # A plugin has written into the socket or overwritten our objects: after one bad frame no
            # boundary of another can be trusted.
            self._fail(HostFailure(f"answered nonsense: {error}"))
            return
        # The process closes its end of the socket before it ends: wait for its exit status, so
        # that `open_host_process` does not kill it first.
        with trio.move_on_after(self._limits.exit):
            await self._exited.wait()
        self._fail(HostFailure("died"))

    def _take(self, message: Mapping[str, object]) -> None:
        """Handle one message of the host. Raises `ProtocolError`."""
        if "hello" in message:
            self._up.set()
            return
        if "thread" in message:
            match message:
                case {"run": int(run), "thread": int(ident)}:
                    self._threads[run] = ident
                case _:
                    raise ProtocolError("a thread without its run")
            return
        # A wrong id would give one run the result of another, so it ends the host.
        number = message.get("id")
        if self._ping is not None and number == self._ping[0]:
            self._ping = None
            return
        pending = self._calls.get(number) if isinstance(number, int) else None
        if pending is None or not isinstance(number, int):
            raise ProtocolError("a reply without a request")
        pending.reply = read_reply(pending.request, message)
        del self._calls[number]
        if not self._calls:
            self._rest.deadline = math.inf
        if isinstance(resident := message.get("resident"), int):
            # Before `finish`: the caller must not send the next call to a host that is given up.
            self._check_memory(resident, pending.run)
        pending.finish()

    # -- what goes wrong ------------------------------------------------------------------------

    async def _watch_process(self) -> None:
        await self.process.exited()
        self._exited.set()
        # Replies that were sent before the process died are still in the socket: `_receive` reads
        # them and fails the host at the end of the stream. This is for a stream that does not end,
        # because a child of a plugin holds it.
        await trio.sleep(self._limits.exit)
        self._fail(HostFailure("died"))

    async def _watch_calls(self) -> None:
        """Check calls that take long; sleep while there are none."""
        while True:
            # `call` and `_take` move the deadline: a call that is answered soon costs no wake-up.
            with trio.CancelScope() as self._rest:
                self._rest.deadline = self._next_check()
                await trio.sleep_forever()
            due = self._next_check()
            while self._calls:
                if self._next_check() > trio.current_time():
                    break  # the call that this was for has been answered
                self._leave_out(trio.current_time() - due)
                oldest = next(iter(self._calls.values()))
                # Here too, not only with replies: a call can take memory for as long as it lasts.
                self._check_memory(self.process.resident(), oldest.run)
                self._check_calls(trio.current_time())
                due = trio.current_time() + self._limits.check_interval
                await trio.sleep_until(due)

    def _next_check(self) -> float:
        oldest = next((call.started for call in self._calls.values()), math.inf)
        return oldest + self._limits.check_interval

    def _leave_out(self, lost: float) -> None:
        """Do not count the last `lost` seconds, in which this process did not run."""
        # It was stopped, or got no processor: it has read no reply meanwhile, and the host may have
        # been stopped too.
        now = trio.current_time()
        for call in self._calls.values():
            call.started = min(call.started + lost, now)
        if self._ping is not None:
            number, sent = self._ping
            self._ping = (number, min(sent + lost, now))

    def _check_calls(self, now: float) -> None:
        """Give up calls that exceed the time limit, or the host."""
        cpu, runnable = self.process.cpu_usage()
        late: list[PendingCall] = []
        for call in self._calls.values():
            if call.cpu_seen is None:  # at the first check: most calls have ended before it
                call.cpu_seen, call.checked_at = cpu, now
            # On an overloaded machine a call is late though the plugin is not slow. A call that sleeps
            # or waits for a network is not runnable, and has the shorter limit.
            starved = runnable and cpu - call.cpu_seen < MIN_CPU_SHARE * (now - call.checked_at)
            factor = SLOW_CALL_FACTOR if self.shared or starved else 1
            if now - call.started >= self._limits.time * factor:
                late.append(call)
        if not self.shared:  # all its calls are those of one run
            if late:
                self._fail(self._describe_late(late[0], now))
            return
        if self._ping is not None and now - self._ping[1] >= self._limits.time:
            # No thread of it runs: one holds the interpreter lock, or the process is stopped.
            self._fail(HostFailure(f"does not answer since {now - self._ping[1]:.1f} s"))
            return
        if self._ping is None:  # one at a time: its age is how long nothing has run
            self._number += 1
            self._ping = (self._number, now)
            self.process.send({"id": self._number, "op": "ping"})
        # The thread of a late call is lost; the other calls keep running.
        for call in late:
            del self._calls[next(number for number, each in self._calls.items() if each is call)]
            self._runs.discard(call.run)  # no close: the thread will not work it off
            self.process.send({"op": "abandon", "run": call.run})
            call.failure = self._describe_late(call, now)
            call.finish()
            self._stuck_calls += 1
            if self._stuck_calls >= MAX_STUCK_CALLS:
                self._fail(HostFailure(f"has {self._stuck_calls} calls that do not come back"))

    @staticmethod
    def _describe_late(call: PendingCall, now: float) -> HostFailure:
        text = f"the call {call.request.op} does not come back after {now - call.started:.1f} s"
        return HostFailure(text, call.run)

    def _check_memory(self, resident: int, run: int) -> None:
        if resident > self._limits.memory:
            text = (
                f"the plugin host has grown to {resident // 2**20} MiB, more than the "
                f"{self._limits.memory // 2**20} MiB of the setting plugin_memory"
            )
            self._fail(HostFailure(text, None if self.shared else run))


async def run_plugin_host(
    fork_servers: ForkServers,
    settings: PluginSettings,
    folders: Sequence[Path],
    limits: CallLimits,
    *,
    shared: bool,
    note_failure: Callable[[], None] = lambda: None,
    user: Mapping[str, object] | None = None,
    task_status: trio.TaskStatus[PluginHost] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run one plugin host until it fails, is closed or this is cancelled; then kill and reap it.

    With `user` (`host_protocol.dump_user`) its plugins run as another user. To be started with
    `nursery.start`, which returns the `PluginHost` once it is up and raises
    `PluginError` when it does not come up.
    """
    host: PluginHost | None = None
    # `finally`, after the process has ended: a run whose call is finished builds its objects elsewhere at
    # once, and two hosts would then write into one store folder.
    try:
        # Without fork (Windows) each host is a fresh interpreter.
        opened: AbstractAsyncContextManager[HostProcess | SpawnedHost]
        if hasattr(os, "fork"):
            opened = open_host_process(await fork_servers.get())
        else:
            from trio_afrender.plugins.host.spawned_host import open_spawned_host

            opened = open_spawned_host()
        async with opened as process:
            host = PluginHost(process, limits, shared=shared)
            await host.run(settings, folders, task_status, user)
        if host.failure is not None and not host.failure.retired:
            if host.failure.run is None:
                host.add_to_failure(process.describe_exit())
            if not host.was_up:
                raise PluginError(f"it {host.failure.text}: {host.failure.details}".strip())
            logger.warning("plugin host %d: %s", process.pid, host.failure.text)
            note_failure()
    finally:
        if host is not None:
            host.release()
