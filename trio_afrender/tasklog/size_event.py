"""An event for a size that grows: any number of tasks can wait for it.

A module of its own because `interfaces` must not import trio: the supervisor and the plugin host
load that one.
"""

from __future__ import annotations

import math

import trio

from trio_afrender.async_helpers import RepeatedEvent

__all__ = ("SizeEvent",)


class SizeEvent:
    """A size that never decreases, and an end."""

    def __init__(self, size: int = 0) -> None:
        self.size: int = size
        self.ended: bool = False
        self.grew_at: float = -math.inf
        """When the size last grew, in trio's time."""
        self._changed = RepeatedEvent()

    def grow(self, size: int) -> None:
        """Set the size if it is larger, and wake all waiting tasks."""
        if size > self.size:
            self.size = size
            self.grew_at = trio.current_time()
            self._changed.set()

    def end(self) -> None:
        """Mark the size as final and wake all waiting tasks."""
        if not self.ended:
            self.ended = True
            self._changed.set()

    async def wait_beyond(self, size: int) -> int:
        """Wait for a larger size or the end; return the size. Several steps of growth may be one."""
        # A reader that always finds more must still let other tasks run.
        await trio.lowlevel.checkpoint()
        while self.size <= size and not self.ended:
            await self._changed.wait()
        return self.size
