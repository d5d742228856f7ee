"""Drain an agent: refuse tasks, finish or stop running ones, deliver, deregister, in one time budget.

    |---- running tasks finish ----|- grace -|- kill -|- deliver -|- deregister -|
    drain()                                                              deadline

Each step has a share of the budget that it cannot exceed, so that a later step still gets its own:
a task that does not end costs its outcome's delivery nothing.
"""

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

logger: logging.Logger = logging.getLogger(__name__)

FLUSH_BUDGET = 5.0
"""Seconds of the budget for the last outcomes and the deregistration."""
DEREGISTER_TIMEOUT = 4.0
"""Seconds for the deregistration. An afserver answers it with its next cycle, up to 1 s later."""
KILL_TIMEOUT = 3.0
"""Seconds of the budget for killed processes to end."""
FAST_STOP_GRACE = 2.0
"""Seconds of grace for running tasks in `stop_now`."""


@final
class Shutdown:
    """The drain of one agent. A repeated request can only shorten it."""

    def __init__(
        self,
        config: Config,
        dispatcher: Dispatcher,
        outbox: Outbox,
        session: Session,
        *,
        announce: Callable[[], None],
    ) -> None:
        """`announce` is called when the agent's state changes to draining."""
        self._config = config
        self._dispatcher = dispatcher
        self._outbox = outbox
        self._session = session
        self._announce = announce
        self._requested = trio.Event()
        self._reason = ""
        self._deadline = math.inf
        self._finishing = trio.CancelScope()
        self._delivering = trio.CancelScope()

    @property
    def begun(self) -> bool:
        """Whether the drain has begun, so that no more tasks are started."""
        return self._requested.is_set()

    def drain(self, reason: str, budget: float | None = None, *, finish: bool = True) -> None:
        """Begin the drain, or shorten it to `budget` seconds (default `Timing.shutdown`).

        Without `finish` running tasks are stopped at once, with their grace. Returns at once.
        """
        seconds = self._config.timing.shutdown if budget is None else budget
        self._deadline = min(self._deadline, trio.current_time() + seconds)
        self._finishing.deadline = self._deadline - FLUSH_BUDGET - self._config.timing.grace
        self._delivering.deadline = max(self._deadline, trio.current_time() + 1.0)
        if not self.begun:
            logger.info("draining: %s", reason)
            self._reason = reason
            self._dispatcher.refusing = f"this render is draining: {reason}"
            self._requested.set()
            self._announce()
        if not finish:
            self._finishing.cancel()

    def stop_now(self, reason: str) -> None:
        """Drain within a few seconds: running tasks are stopped with a short grace."""
        self.drain(reason, FLUSH_BUDGET + FAST_STOP_GRACE, finish=False)
        self._stop_all(StopKind.AGENT_EXIT, f"the agent ends now: {reason}", FAST_STOP_GRACE)

    def _stop_all(self, kind: StopKind, text: str, grace: float) -> None:
        """Stop every run early enough for the kill and the delivery to fit into the budget."""
        left = self._deadline - trio.current_time()
        # Of a short budget, delivery and kill get a quarter each at most, so that tasks have some
        # grace in any case.
        deliver = min(DEREGISTER_TIMEOUT + self._config.timing.drain, left / 4)
        kill = min(KILL_TIMEOUT, left / 4)
        by = self._deadline - deliver
        self._dispatcher.stop_all(kind, text, max(min(grace, left - deliver - kill), 0.0), by)

    async def run(self, scope: trio.CancelScope) -> None:
        """Wait for a request, do the drain, and cancel `scope`, which holds the whole agent."""
        await self._requested.wait()
        with self._finishing:
            if self._config.drain != "stop":
                await self._dispatcher.idle()
        text = f"the agent is draining: {self._reason}"
        self._stop_all(StopKind.DRAIN, text, self._config.timing.grace)
        # A stopped task can still hang, on a disk or in a plugin.
        with trio.move_on_at(self._deadline) as waiting:
            await self._dispatcher.idle()
        if waiting.cancelled_caught:
            logger.error("%d tasks did not end within the budget", len(self._dispatcher.running))
        self._delivering.deadline = max(self._deadline, trio.current_time() + 1.0)
        with self._delivering:
            await self._dispatcher.delivered()
            self._session.deregister(self._reason)
            if self._session.state == "online":
                # The agent cancels this task as soon as the session has ended.
                with trio.move_on_after(DEREGISTER_TIMEOUT):
                    await trio.sleep_forever()
        if self._outbox.holds:
            logger.error("the server did not take every outcome before the drain's deadline")
        scope.cancel()
