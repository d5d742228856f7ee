"""The websocket session: register, deliver, take orders; reconnect for ever. Runs never notice.

Nesting is lifetime: the link's context is one connection, the nursery inside it reads and
writes; whatever ends one of them ends the connection, and the loop around it tries again.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator

import attrs
import trio

from trio_afrender.agent.dispatcher import Dispatcher
from trio_afrender.agent.loop_watchdog import LoopWatchdog
from trio_afrender.agent.outbox import Outbox
from trio_afrender.backoff import Backoff
from trio_afrender.config import Timing
from trio_afrender.errors import LinkLost, LinkRefused, ProtocolError
from trio_afrender.protocol.messages import (
    Ack,
    Events,
    Refused,
    Register,
    Registered,
)
from trio_afrender.transport.interfaces import Connect, Link

__all__ = ("Session", "SessionSettings")

logger = logging.getLogger(__name__)

MAX_IN_FLIGHT = 16
"""Updates in flight: enough to keep a link busy, few enough to repeat after a loss."""
LOOP_NAME = "the session"
HANG_MARGIN = 10.0
"""Seconds late that a loop may be before it counts as hanging."""
IDLE_HEARTBEAT = 6.0
"""Seconds between signs of life of a render that has nothing to say (or three eighths of the zombie
time, or the heartbeat): pings watch the link meanwhile. More than the usual five between two
measurements, which are a sign of life as well."""
BATCH_DELAY = 0.125
"""Seconds that news of a quiet render wait for more: host and tasks are measured at the same
moments, and one update tells of them all."""
NAME_TAKEN_RETRIES = 2.0
"""Zombie times to wait for a taken name: the server may still count our own former self online."""


@attrs.define(eq=False)
class SessionSettings:
    """What the server may change. Seconds; the resources period counts heartbeats."""

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
        """Seconds between two measurements of the host and of the tasks' trees."""
        return self.heartbeat * self.resources_period

    def change(self, said: Registered | Events) -> None:
        """Take over what is positive; 0 means no change, below 0 never to exit for want of tasks."""
        self.heartbeat = said.heartbeat_sec if said.heartbeat_sec > 0 else self.heartbeat
        self.zombie = said.zombie_time if said.zombie_time > 0 else self.zombie
        if said.resources_update_period > 0:
            self.resources_period = said.resources_update_period
        if said.exit_no_task_time:
            self.exit_no_task = max(said.exit_no_task_time, 0.0)


class Session:
    """One render's talk with its server, over as many links as it takes."""

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
        connect_timeout: float,
        pulse: LoopWatchdog,
    ) -> None:
        self.state = "connecting"
        self.render_id = 0
        self._connect = connect
        self._outbox = outbox
        self._dispatcher = dispatcher
        self._settings = settings
        self._backoff = backoff
        self._make_register = make_register
        self._instruct = instruct
        self._connect_timeout = connect_timeout
        self._pulse = pulse
        self._wakeup = trio.Event()
        self._acked = trio.Event()
        self._goodbye: str | None = None
        self._renewing = False
        self._refused_since = math.inf
        self._last_error = ""
        self._heard = -math.inf
        """When the server last said something."""

    def wake(self) -> None:
        """Say that the outbox holds something new; what is urgent goes out at once."""
        self._wakeup.set()

    async def run(self) -> None:
        """Talk until `say_goodbye`. Raises `LinkRefused` when the server does not want us at all."""
        while not self.leaving:
            self._pulse.expect_within(LOOP_NAME, self._connect_timeout + HANG_MARGIN)
            refusal = await self._try_link()
            self.state = "connecting"
            self._outbox.lost()
            if refusal is not None:
                self._handle_refusal(refusal)
            await self._pause()
        self.state = "closed"
        self._pulse.expect_within(LOOP_NAME)

    async def _pause(self) -> None:
        """Wait before the next try; not at all when we are leaving."""
        if not self.leaving:
            # A server counts us online for a zombie time, and hands us tasks meanwhile.
            counted = trio.current_time() - self._heard < self._settings.zombie
            held = bool(self._dispatcher.running) or self._outbox.holds or counted
            delay = self._backoff.delay(held=held, zombie=self._settings.zombie)
            self._pulse.expect_within(LOOP_NAME, delay + HANG_MARGIN)
            await trio.sleep(delay)

    @property
    def leaving(self) -> bool:
        """Whether the goodbye has been asked for."""
        return self._goodbye is not None

    def say_goodbye(self, reason: str) -> None:
        """Deregister on the present link, if there is one, and end `run`."""
        self._goodbye = reason
        self.wake()

    def reregister(self) -> None:
        """Leave and register anew once nothing runs, for a server that must not go on with what it
        thinks of this render: one that believes it asleep gives it no tasks."""
        self._renewing = True
        self.wake()

    @property
    def _may_renew(self) -> bool:
        return self._renewing and not (self._dispatcher.running or self._outbox.holds)

    # -- one link -------------------------------------------------------------------------------

    async def _try_link(self) -> LinkRefused | None:
        """Have one link until it ends; return the server's refusal if that is what ended it."""
        refusal: LinkRefused | None = None
        try:
            await self._one_link()
        except* (LinkLost, ProtocolError, OSError) as group:
            self._report_loss(str(_first(group)))
        except* LinkRefused as group:
            error = _first(group)
            refusal = error if isinstance(error, LinkRefused) else None
        return refusal

    async def _one_link(self) -> None:
        with trio.CancelScope(deadline=trio.current_time() + self._connect_timeout) as connecting:
            async with self._connect() as link:
                answer = await link.register(self._make_register())
                connecting.deadline = (
                    math.inf
                )  # the scope is around the link, so it must outlive it
                if isinstance(answer, Refused):
                    raise LinkRefused(answer.reason, answer.text, retry_after=answer.retry_after)
                self._registered(answer)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read, link)
                    await self._write(link)
                    nursery.cancel_scope.cancel()
        if connecting.cancelled_caught:
            raise LinkLost(f"no answer within {self._connect_timeout:g} s")

    def _registered(self, answer: Registered) -> None:
        self._heard = trio.current_time()
        self._refused_since = math.inf
        self._last_error = ""
        self.render_id = answer.id
        self._settings.change(answer)
        self._dispatcher.registered(answer)
        self.state = "online"
        logger.info("registered as render %s%s", answer.id, f": {answer.log}" if answer.log else "")

    async def _read(self, link: Link) -> None:
        while True:
            message = await link.receive()
            # Only something received proves a server: one that accepts and drops is not hammered.
            self._backoff.reset()
            self._heard = trio.current_time()
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
        seq, beat = 0, False
        while True:
            while update := self._outbox.take(seq + 1) or (
                self._outbox.make_heartbeat(seq + 1) if beat else None
            ):
                beat = False
                seq += 1
                await link.send(update)
                await self._wait_for_window()
            if self._goodbye is not None:
                await link.deregister(self._goodbye)
                return
            if self._may_renew:
                self._renewing = False
                await link.deregister("to register anew")
                return
            beat = await self._wait_for_turn()

    async def _wait_for_window(self) -> None:
        while self._outbox.in_flight >= MAX_IN_FLIGHT:
            self._acked = trio.Event()
            await self._acked.wait()

    async def _wait_for_turn(self) -> bool:
        """Wait for what is urgent; for the heartbeat if there is anything else to say; or for
        the time to give an empty sign of life (True). So a quiet agent hardly ever wakes."""
        now = trio.current_time()
        heartbeat = self._settings.heartbeat
        until = now + max(heartbeat, min(IDLE_HEARTBEAT, self._settings.zombie * 3 / 8))
        # A send may hang for as long as it takes the pings to notice a dead peer.
        self._pulse.expect_within(LOOP_NAME, until - now + self._settings.zombie + HANG_MARGIN)
        news = math.inf
        while not (self._outbox.urgent or self.leaving or self._may_renew):
            if self._outbox.has_pending:
                news = min(news, trio.current_time())
                until = min(until, max(now + heartbeat, news + BATCH_DELAY))
            with trio.move_on_at(until) as pause:
                await self._wakeup.wait()
            self._wakeup = trio.Event()
            if pause.cancelled_caught:
                return True
        return False

    # -- what goes wrong ------------------------------------------------------------------------

    def _report_loss(self, text: str) -> None:
        """Say it once loudly; an agent that waits a night for its server is not to fill a log."""
        level = logging.DEBUG if text == self._last_error else logging.WARNING
        self._last_error = text
        logger.log(level, "no link to the server: %s; trying again", text)

    def _handle_refusal(self, error: LinkRefused) -> None:
        """Give up on a refusal that will not change, or on a name that stays taken."""
        if error.retry_after is None:
            raise error
        now = trio.current_time()
        self._refused_since = min(self._refused_since, now)
        if now - self._refused_since >= NAME_TAKEN_RETRIES * self._settings.zombie:
            raise error
        logger.warning("%s: trying again", error)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error to tell of a group about one situation: the first, but nonsense before a loss.

    While the reader closes a link on which nonsense came, the writer may find it closed.
    """
    leaves = list(_leaves(group))
    return next((error for error in leaves if isinstance(error, ProtocolError)), leaves[0])


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
