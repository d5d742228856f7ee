"""Lets many wait for something that grows, at the price of one event for all of them."""

from __future__ import annotations

import math

import trio

__all__ = ("SizeEvent",)


class SizeEvent:
    """A size that never goes back, and an end."""

    def __init__(self, size: int = 0) -> None:
        self.size = size
        self.ended = False
        self.grew_at = -math.inf
        """When it grew last, in trio's time."""
        self._changed = trio.Event()

    def grow(self, size: int) -> None:
        """Set the size, if it is larger, and wake who waits."""
        if size > self.size:
            self.size = size
            self.grew_at = trio.current_time()
            self._wake()

    def end(self) -> None:
        """Say that the size is the last one."""
        if not self.ended:
            self.ended = True
            self._wake()

    async def wait_beyond(self, size: int) -> int:
        """Wait for a larger size or the end; return the size. Steps between are not told."""
        await trio.lowlevel.checkpoint()
        while self.size <= size and not self.ended:
            await self._changed.wait()
        return self.size

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
