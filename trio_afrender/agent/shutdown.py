"""How an agent ends: refuse, let finish or stop, deliver, say goodbye, all within one budget."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import final

import trio

from trio_afrender.agent.dispatcher import Dispatcher
from trio_afrender.agent.outbox import Outbox
from trio_afrender.agent.session import Session
from trio_afrender.config import Config
from trio_afrender.task.status_rules import StopKind

__all__ = ("Shutdown",)

logger = logging.getLogger(__name__)

FLUSH_BUDGET = 5.0
"""Seconds of the budget kept for the last results and the goodbye."""
DEREGISTER_TIMEOUT = 4.0
"""Seconds for a server that is there to take the goodbye: one of Afanasy takes a turn for it."""
KILL_TIMEOUT = 3.0
"""Seconds of the budget in which killed processes may go."""
FAST_STOP_GRACE = 2.0
"""Grace, in seconds, when there is to be no more waiting."""


@final
class Shutdown:
    """The drain of one agent. Whoever asks again can only make it shorter."""

    def __init__(
        self,
        config: Config,
        dispatcher: Dispatcher,
        outbox: Outbox,
        session: Session,
        *,
        announce: Callable[[], None],
    ) -> None:
        """`announce` tells the server that no more tasks are taken."""
        self._config = config
        self._dispatcher = dispatcher
        self._outbox = outbox
        self._session = session
        self._announce = announce
        self._asked = trio.Event()
        self._reason = ""
        self._deadline = math.inf
        self._finishing = trio.CancelScope()
        self._delivering = trio.CancelScope()

    @property
    def begun(self) -> bool:
        """Whether no more tasks are taken."""
        return self._asked.is_set()

    def drain(self, reason: str, budget: float | None = None, *, finish: bool = True) -> None:
        """End within `budget` seconds (default `Timing.shutdown`); without `finish` running tasks
        are stopped at once, with their grace. Returns at once."""
        seconds = self._config.timing.shutdown if budget is None else budget
        self._deadline = min(self._deadline, trio.current_time() + seconds)
        self._finishing.deadline = self._deadline - FLUSH_BUDGET - self._config.timing.grace
        self._delivering.deadline = max(self._deadline, trio.current_time() + 1.0)
        if not self.begun:
            logger.info("draining: %s", reason)
            self._reason = reason
            self._dispatcher.refusing = f"this render is draining: {reason}"
            self._asked.set()
            self._announce()
        if not finish:
            self._finishing.cancel()

    def stop_now(self, reason: str) -> None:
        """End now: running tasks are stopped with a short grace."""
        self.drain(reason, FLUSH_BUDGET + FAST_STOP_GRACE, finish=False)
        self._stop_all(StopKind.AGENT_EXIT, f"the agent ends now: {reason}", FAST_STOP_GRACE)

    def _stop_all(self, kind: StopKind, text: str, grace: float) -> None:
        """Stop every run so that what follows still fits into the budget."""
        left = self._deadline - trio.current_time()
        deliver = min(DEREGISTER_TIMEOUT + self._config.timing.drain, left / 4)
        bury = min(KILL_TIMEOUT, left / 4)
        by = self._deadline - deliver
        self._dispatcher.stop_all(kind, text, max(min(grace, left - deliver - bury), 0.0), by)

    async def run(self, scope: trio.CancelScope) -> None:
        """Wait until it is asked for, do it, and cancel `scope`: all that the agent is."""
        await self._asked.wait()
        with self._finishing:
            if self._config.drain != "stop":
                await self._dispatcher.idle()
        text = f"the agent is draining: {self._reason}"
        self._stop_all(StopKind.DRAIN, text, self._config.timing.grace)
        with trio.move_on_at(self._deadline) as waiting:  # for a disk or a plugin that hangs
            await self._dispatcher.idle()
        if waiting.cancelled_caught:
            logger.error("%d tasks did not end within the budget", len(self._dispatcher.running))
        self._delivering.deadline = max(self._deadline, trio.current_time() + 1.0)
        with self._delivering:
            await self._dispatcher.delivered()
            self._session.say_goodbye(self._reason)
            if self._session.state == "online":
                with trio.move_on_after(DEREGISTER_TIMEOUT):
                    await trio.sleep_forever()  # the agent cancels us once the goodbye is out
        if self._outbox.holds:
            logger.error("the server did not take every outcome before the drain's deadline")
        scope.cancel()
