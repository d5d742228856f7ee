"""Watches one process for its limits, and stops it when one is reached. Sleeps in between."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from trio_afrender.config import Limits
from trio_afrender.task.monitors.limit_rules import Usage, next_look, over_limit
from trio_afrender.task.reasons import ReasonLog
from trio_afrender.task.status_rules import StopCause, StopKind
from trio_afrender.task.task_control import TaskControl
from trio_afrender.tasklog.interfaces import RunLog

__all__ = ("watch_limits",)


async def watch_limits(
    limits: Limits,
    log: RunLog,
    handle: TaskControl,
    why: ReasonLog,
    *,
    progressed: Callable[[], float] | None,
) -> None:
    """Stop the run at the first limit that it reaches; cancelled when its process is over.

    `progressed` tells when percent or frame moved last, in trio's time; None: nobody can tell.
    """
    start, before = trio.current_time(), log.size
    while True:
        await handle.suspension.over()  # who stands still reaches no limit
        now = trio.current_time()
        begun = max(start, handle.suspension.ended)
        usage = Usage(
            running=handle.ran_before + now - start - handle.suspension.seconds(),
            silent=now - max(begun, log.grew_at),
            stalled=now - max(begun, progressed()) if progressed is not None else None,
            printed=log.size - before,
            resident=handle.usage.resident if handle.usage is not None else None,
        )
        if text := over_limit(limits, usage):
            why.add("rule", f"{text}: the task is stopped")
            handle.stop(StopCause(kind=StopKind.LIMIT, text=text))
            return
        with trio.move_on_after(next_look(limits, usage)):
            await _news(limits, log, handle, before + limits.output - 1)


async def _news(limits: Limits, log: RunLog, handle: TaskControl, allowed: int) -> None:
    """Wait until a figure may have passed its limit; nobody wakes here for one without a limit."""
    async with trio.open_nursery() as nursery:

        async def first(what: Callable[[], Awaitable[None]]) -> None:
            await what()
            nursery.cancel_scope.cancel()

        async def printed() -> None:
            await log.wait_beyond(allowed)
            if log.ended:
                await trio.sleep_forever()

        if limits.output:
            nursery.start_soon(first, printed)
        if limits.memory:
            nursery.start_soon(first, handle.measured)
        await trio.sleep_forever()
