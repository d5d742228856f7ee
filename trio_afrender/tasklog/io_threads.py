"""Where the blocking work of this room runs: threads, few of them, so that a stuck disk stays small.

Filling has threads of its own: reading a gigabyte for somebody must not keep a pipe waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

__all__ = ("fill_in_thread", "work_in_thread")

_T = TypeVar("_T")
_Limiter = trio.lowlevel.RunVar[trio.CapacityLimiter]

# Limiters belong to one run of trio; a host application may have several.
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
    """Run what changes a log. Cancelled before it began: nothing happened; else it is completed."""
    return await trio.to_thread.run_sync(work, limiter=_limiter(_filling, 4))


async def work_in_thread(work: Callable[[], _T], *, abandon: bool = False) -> _T:
    """Run what comes after: windows, copies. With `abandon`, being cancelled does not wait for it."""
    return await trio.to_thread.run_sync(
        work, limiter=_limiter(_working, 4), abandon_on_cancel=abandon
    )
