"""The processor time in which the messages of one token are decoded.

A frame takes by its values what it takes, and nothing else runs meanwhile. So the time is measured,
and the messages of a token that has used its own wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import trio

__all__ = ("DecodingBudget",)

RATE, BURST = 0.25, 1.0
"""Seconds of processor time a second, and seconds at once."""
T = TypeVar("T")


class DecodingBudget:
    """Decodes the messages of all connections of one token, one after the other once it is used up.

    `cpu_clock` returns seconds of processor time. `count_wait` is called for each message that waits.
    """

    def __init__(
        self,
        count_wait: Callable[[], None] = lambda: None,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._count_wait = count_wait
        self._cpu_clock = cpu_clock
        self._level = BURST
        self._seen = trio.current_time()
        self._turn = trio.Lock()

    async def decode(self, decode: Callable[[str], T], frame: str) -> T:
        """Return what `decode` makes of a frame. A checkpoint only if it has to wait."""
        if self._refill() < 0:
            self._count_wait()
            # One at a time, so that not all decode at the moment at which the budget allows one.
            async with self._turn:
                while self._refill() < 0:  # noqa: ASYNC110 - another connection may use it up again
                    await trio.sleep(-self._level / RATE)
        began = self._cpu_clock()
        try:
            return decode(frame)
        finally:
            self._level -= self._cpu_clock() - began

    def _refill(self) -> float:
        now = trio.current_time()
        self._level = min(self._level + (now - self._seen) * RATE, BURST)
        self._seen = now
        return self._level
