"""The session with the server: register, send updates, apply messages, reconnect without end.

Each pass of the loop in `run` is one link: its context is one connection, and a nursery inside it
holds one reader and one writer. The end of any of them ends the connection, and the loop opens the
next one. Running tasks are not affected.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Iterator

import attrs
import trio

from trio_afrender.agent.dispatcher import Dispatcher
from trio_afrender.agent.loop_watchdog import LoopWatchdog
from trio_afrender.agent.outbox import Outbox
from trio_afrender.backoff import Backoff
from trio_afrender.config import Timing
from trio_afrender.errors import LinkLost, LinkRefused, ProtocolError, is_exhausted
from trio_afrender.protocol.messages import (
    Ack,
    Events,
    Refused,
    Register,
    Registered,
    Update,
)
from trio_afrender.tasklog.io_threads import hold_descriptors
from trio_afrender.transport.interfaces import Connect, Link

__all__ = ("Session", "SessionSettings")

logger: logging.Logger = logging.getLogger(__name__)

MAX_IN_FLIGHT = 16
"""Unacknowledged updates: enough to keep a link busy, few enough to repeat after a loss."""
LOOP_NAME = "the session"
HANG_MARGIN = 10.0
"""Seconds that the loop may be late before the watchdog counts it as hanging."""
FILES_TIMEOUT = 60.0
"""Seconds in which the files of an update should have been read."""
IDLE_HEARTBEAT = 6.0
"""Seconds between empty updates of a render that has nothing to send, unless three eighths of the
zombie time are less or the heartbeat is more. It is longer than the five seconds between two
measurements, whose updates prove the same, so empty updates are rare; pings check the connection."""
BATCH_DELAY = 0.125
"""Seconds that a change waits for others. Host and tasks are measured at the same moments, so one
update then carries all figures."""
MAX_REASON = 500
"""Characters of the reason for a sleep that failed."""
NAME_TAKEN_RETRIES = 2.0
"""Zombie times during which a taken name is tried again: it may be this render's own former
connection, which the server still counts as online."""


@attrs.define(eq=False)
class SessionSettings:
    """Settings that the server may change. Seconds; `resources_period` counts heartbeats."""

    heartbeat: float
    resources_period: int
    zombie: float
    exit_no_task: float = 0.0

    @classmethod
    def of(cls, timing: Timing) -> SessionSettings:
        return cls(
            heartbeat=timing.heartbeat,
            resources_period=timing.resources_period,
            zombie=timing.zombie,
        )

    def period(self) -> float:
        """Return the seconds between two measurements of the host and of the tasks' trees."""
        return self.heartbeat * self.resources_period

    def change(self, message: Registered | Events) -> None:
        """Apply the settings in a message.

        Positive: new value. Zero: unchanged. Negative `exit_no_task_time`: never exit when idle.
        """
        self.heartbeat = message.heartbeat_sec if message.heartbeat_sec > 0 else self.heartbeat
        self.zombie = message.zombie_time if message.zombie_time > 0 else self.zombie
        if message.resources_update_period > 0:
            self.resources_period = message.resources_update_period
        if message.exit_no_task_time:
            self.exit_no_task = max(message.exit_no_task_time, 0.0)


class Session:
    """The session of one render with its server, over one link after the other.

    `instruct` is called with the instruction and the command of each message that has one.
    `load_files` returns an update of the outbox with the contents of its files. Raises `OSError`.
    """

    def __init__(
        self,
        connect: Connect,
        outbox: Outbox,
        dispatcher: Dispatcher,
        *,
        settings: SessionSettings,
        backoff: Backoff,
        make_register: Callable[[], Register],
        instruct: Callable[[str, str], None],
        load_files: Callable[[Update], Awaitable[Update]],
        connect_timeout: float,
        watchdog: LoopWatchdog,
    ) -> None:
        self.state: str = "connecting"
        """``connecting``, ``online`` or ``closed``."""
        self.failed_links: int = 0
        """How many links ended by an error, or could not be opened."""
        self.registrations: int = 0
        """How often the server has accepted a register."""
        self._connect = connect
        self._outbox = outbox
        self._dispatcher = dispatcher
        self._settings = settings
        self._backoff = backoff
        self._make_register = make_register
        self._instruct = instruct
        self._load_files = load_files
        self._connect_timeout = connect_timeout
        self._watchdog = watchdog
        self._wakeup = trio.Event()
        self._acked = trio.Event()
        self._leave_reason: str | None = None
        self._sleep_failed = ""
        """Why the host is awake although the server ordered it to sleep, until a register with it
        has been accepted."""
        self._refused_since = math.inf
        self._last_error = ""
        self._received_at = -math.inf
        """When the last message of the server was received."""

    def wake(self) -> None:
        """Send urgent content of the outbox at once."""
        self._wakeup.set()

    async def run(self) -> None:
        """Keep the session until `deregister`. Raises `LinkRefused` for a refusal that is final."""
        while not self.leaving:
            self._watchdog.expect_within(LOOP_NAME, self._connect_timeout + HANG_MARGIN)
            try:
                refusal = await self._try_link()
            finally:
                # Also after an error for which `wait_out` calls this again: the next link counts anew.
                self.state = "connecting"
                self._outbox.lost()
            if refusal is None:
                # A link that was lost says nothing of the name: only refusals one after another do.
                self._refused_since = math.inf
            else:
                now = trio.current_time()
                self._refused_since = min(self._refused_since, now)
                refused_for = now - self._refused_since
                limit = NAME_TAKEN_RETRIES * self._settings.zombie
                if refusal.retry_after is None or refused_for >= limit:
                    raise refusal
                logger.warning("%s: trying again", refusal)
            if self._leave_reason is not None:
                break
            # For one zombie time after the last message the server counts this render as online and
            # may hand tasks to it, so the wait stays short
            # (test_an_idle_render_is_back_before_the_server_gives_it_up).
            online = trio.current_time() - self._received_at < self._settings.zombie
            held = bool(self._dispatcher.running) or self._outbox.holds or online
            delay = self._backoff.delay(held=held, zombie=self._settings.zombie)
            self._watchdog.expect_within(LOOP_NAME, delay + HANG_MARGIN)
            await trio.sleep(delay)
        self.state = "closed"
        self._watchdog.expect_within(LOOP_NAME)

    @property
    def leaving(self) -> bool:
        """Whether `deregister` was called."""
        return self._leave_reason is not None

    def deregister(self, reason: str) -> None:
        """Deregister on the present link, if there is one, and end `run`. Returns at once."""
        self._leave_reason = reason
        self.wake()

    def reregister(self, sleep_failed: str) -> None:
        """Deregister and register anew once nothing runs and every outcome is closed.

        This clears the server's state of this render: one that it counts as asleep gets no tasks.
        `sleep_failed` is why the host is awake.
        """
        self._sleep_failed = sleep_failed[:MAX_REASON]
        self.wake()

    @property
    def _can_reregister(self) -> bool:
        return bool(self._sleep_failed) and not (self._dispatcher.running or self._outbox.holds)

    # -- one link -------------------------------------------------------------------------------

    async def _try_link(self) -> LinkRefused | None:
        """Use one link until it ends; return the server's refusal if that was the end."""
        refusal: LinkRefused | None = None
        try:
            await self._one_link()
        except* (LinkLost, ProtocolError, OSError) as group:
            # The same error is a warning once. An agent that waits a night for its server would fill
            # its log otherwise.
            self.failed_links += 1
            text = str(_first(group))
            level = logging.DEBUG if text == self._last_error else logging.WARNING
            self._last_error = text
            logger.log(level, "no link to the server: %s; trying again", text)
            if is_exhausted(_first(group)):
                hold_descriptors(0)
        except* RuntimeError as group:
            # A name is looked up in a thread.
            if not is_exhausted(group):
                raise
            logger.warning("no link to the server: %s; trying again", _first(group))
        except* LinkRefused as group:
            error = _first(group)
            refusal = error if isinstance(error, LinkRefused) else None
        return refusal

    async def _one_link(self) -> None:
        with trio.CancelScope(deadline=trio.current_time() + self._connect_timeout) as connecting:
            async with self._connect() as link:
                reported = self._sleep_failed
                register = attrs.evolve(self._make_register(), sleep_failed=reported)
                answer = await link.register(register)
                # The scope must stay open as long as the link's context, because scopes cannot be
                # interleaved with nurseries. So its deadline is removed instead.
                connecting.deadline = math.inf
                if isinstance(answer, Refused):
                    raise LinkRefused(answer.reason, answer.text, retry_after=answer.retry_after)
                self._received_at = trio.current_time()
                self._last_error = ""
                self.registrations += 1
                # Any register counts, also one after a lost link; not for what came up since.
                if self._sleep_failed == reported:
                    self._sleep_failed = ""
                self._settings.change(answer)
                self._dispatcher.registered(answer)
                self.state = "online"
                log = f": {answer.log}" if answer.log else ""
                logger.info("registered as render %s%s", answer.id, log)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read, link)
                    await self._write(link)
                    nursery.cancel_scope.cancel()
        if connecting.cancelled_caught:
            raise LinkLost(f"no answer within {self._connect_timeout:g} s")

    async def _read(self, link: Link) -> None:
        while True:
            message = await link.receive()
            # The backoff is reset by a message, not by a connect: a server that accepts connections
            # and closes them must not get new ones in quick succession.
            self._backoff.reset()
            self._received_at = trio.current_time()
            match message:
                case Ack():
                    self._outbox.acked(message.seq)
                    self._acked.set()
                case Events():
                    self._settings.change(message)
                    if message.log:
                        logger.info("server: %s", message.log)
                    self._dispatcher.apply(message)
                    if message.instruction:
                        self._instruct(message.instruction, message.command)

    async def _write(self, link: Link) -> None:
        seq, heartbeat_due = 0, False
        while True:
            while update := self._outbox.take(seq + 1) or (
                self._outbox.make_heartbeat(seq + 1) if heartbeat_due else None
            ):
                heartbeat_due = False
                seq += 1
                if update.files:
                    self._watchdog.expect_within(LOOP_NAME, FILES_TIMEOUT)
                    update = await self._load_files(update)
                # A slow line may take minutes for what an hour without a server has left; pings
                # notice one that is dead (test_an_agent_that_waits_for_its_server_does_not_count_as_hanging).
                self._watchdog.expect_within(LOOP_NAME)
                await link.send(update)
                while self._outbox.in_flight >= MAX_IN_FLIGHT:
                    self._acked = trio.Event()
                    await self._acked.wait()
            if self._leave_reason is not None:
                await link.deregister(self._leave_reason)
                return
            if self._can_reregister:
                await link.deregister("to register anew")
                return
            heartbeat_due = await self._wait_to_send()

    async def _wait_to_send(self) -> bool:
        """Wait until something is to be sent; return True if a heartbeat is due.

        Urgent content ends the wait at once, other content with the heartbeat. Without content the
        wait ends when an empty update is due, so a quiet agent rarely wakes up.
        """
        now = trio.current_time()
        heartbeat = self._settings.heartbeat
        until = now + max(heartbeat, min(IDLE_HEARTBEAT, self._settings.zombie * 3 / 8))
        self._watchdog.expect_within(LOOP_NAME, until - now + HANG_MARGIN)
        pending_since = math.inf
        # One scope for all wake-ups: a new one for each is a noticeable part of a tiny task's cost.
        with trio.CancelScope(deadline=until) as waiting:
            while not (self._outbox.urgent or self.leaving or self._can_reregister):
                if self._outbox.has_pending:
                    pending_since = min(pending_since, trio.current_time())
                    earlier = max(now + heartbeat, pending_since + BATCH_DELAY)
                    waiting.deadline = min(waiting.deadline, earlier)
                await self._wakeup.wait()
                self._wakeup = trio.Event()
        return waiting.cancelled_caught


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error to report of a group: a `ProtocolError` if there is one, else the first."""
    # While the reader closes a link because of an invalid message, the writer may find it closed.
    # The message is the cause then.
    leaves = list(_leaves(group))
    return next((error for error in leaves if isinstance(error, ProtocolError)), leaves[0])


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
