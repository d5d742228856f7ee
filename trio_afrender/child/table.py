"""One look at all processes for all trees that ask at about the same moment.

For figures, never for signals: what is told may be as old as `FRESH`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias, final

import trio

from trio_afrender.child.processes import ProcessFacts, scan

__all__ = ("Facts", "Table")

Facts: TypeAlias = Mapping[int, ProcessFacts]

FRESH = 0.5
"""Seconds for which a look serves whoever asks. Those who measure do it every few seconds."""


@final
class Table:
    """The processes of the host by their pids, shared by the trees of one loop."""

    def __init__(self, threads: trio.CapacityLimiter, *, read: Callable[[], Facts] = scan) -> None:
        self._threads = threads
        self._read = read
        self._turn = trio.Lock()
        self._time = -math.inf
        self._facts: Facts = {}

    async def look(self) -> Facts:
        """Return what was seen at most `FRESH` seconds ago. Raises `OSError` when blind."""
        async with self._turn:  # the first looks, the others find it done
            if trio.current_time() - self._time > FRESH:
                self._facts = await trio.to_thread.run_sync(self._read, limiter=self._threads)
                self._time = trio.current_time()
            return self._facts
