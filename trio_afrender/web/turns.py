"""Turns for viewers and connections, so that many of them at once do not keep the loop."""

from __future__ import annotations

import trio

__all__ = ("Turns",)

_AT_ONCE = 8
"""Tasks that have a turn before the other tasks of this process run."""


class Turns:
    """Lets a few tasks at a time continue. Two hundred viewers wake at each change, and serving all of
    them at once would keep the loop, and with it a farm in this process, for that long."""

    def __init__(self) -> None:
        self._places = trio.Semaphore(_AT_ONCE)

    async def wait(self) -> None:
        """Wait for a turn; other tasks have run until then."""
        async with self._places:
            await trio.lowlevel.checkpoint()
