"""Runs blocking disk work in threads, few of them, so that a hanging disk cannot take many.

Filling logs has threads of its own: reading a gigabyte for a client must not keep a pipe waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

__all__ = ("fill_in_thread", "work_in_thread")

_T = TypeVar("_T")
_Limiter = trio.lowlevel.RunVar[trio.CapacityLimiter]

# A limiter belongs to one run of trio; an application that embeds the agent may have several.
_filling: _Limiter = trio.lowlevel.RunVar("trio_afrender.tasklog.filling")
_working: _Limiter = trio.lowlevel.RunVar("trio_afrender.tasklog.working")


def _limiter(holder: _Limiter, tokens: int) -> trio.CapacityLimiter:
    try:
        return holder.get()
    except LookupError:
        limiter = trio.CapacityLimiter(tokens)
        holder.set(limiter)
        return limiter


async def fill_in_thread(work: Callable[[], _T]) -> _T:
    """Run work that changes a log. Cancelled before its start, it does not run; later, it completes."""
    return await trio.to_thread.run_sync(work, limiter=_limiter(_filling, 4))


async def work_in_thread(work: Callable[[], _T], *, abandon: bool = False) -> _T:
    """Run all other work: windows, copies, files. With `abandon`, a cancellation does not wait for it.

    `abandon` is for work that only reads: the thread keeps running and keeps its token.
    """
    return await trio.to_thread.run_sync(
        work, limiter=_limiter(_working, 4), abandon_on_cancel=abandon
    )
