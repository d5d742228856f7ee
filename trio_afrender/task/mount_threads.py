"""Threads for looks at folders that may be on a mount that hangs.

Such a thread is left behind, and keeps its place until the mount answers. They have places of their own:
else a dead file server would take those that name look-ups and the supervisor need.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

from trio_afrender.tasklog.io_threads import call_in_thread

__all__ = ("call_on_mount",)

MAX_THREADS = 40
"""Threads that hang at most; further looks wait."""

_T = TypeVar("_T")

# A limiter belongs to one run of trio; an application that embeds the agent may have several.
_limiter: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar(
    "trio_afrender.task.mount_threads"
)


async def call_on_mount(work: Callable[[], _T]) -> _T:
    """Call `work` in a thread; a cancellation does not wait for it. Raises as `call_in_thread`."""
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = trio.CapacityLimiter(MAX_THREADS)
        _limiter.set(limiter)
    return await call_in_thread(work, limiter=limiter, abandon=True)
