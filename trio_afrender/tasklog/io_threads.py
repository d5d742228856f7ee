"""Runs blocking disk work in threads, few of them, so that a hanging disk cannot take many."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

__all__ = ("work_in_thread",)

MAX_THREADS = 4

_T = TypeVar("_T")

# A limiter belongs to one run of trio; an application that embeds the agent may have several.
_limiter: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar(
    "trio_afrender.tasklog.io_threads"
)


async def work_in_thread(work: Callable[[], _T], *, abandon: bool = False) -> _T:
    """Run blocking work: windows, copies, files. With `abandon`, a cancellation does not wait for it.

    `abandon` is for work that only reads: the thread keeps running and keeps its token.
    """
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = trio.CapacityLimiter(MAX_THREADS)
        _limiter.set(limiter)
    return await trio.to_thread.run_sync(work, limiter=limiter, abandon_on_cancel=abandon)
