"""Lets calls through together, and some of them only by themselves."""

from __future__ import annotations

import trio

__all__ = ("Slots",)


class Slots:
    """Between `enter` and `leave` a call is inside; one that is `alone` has the inside to itself.

    Who wants to be alone goes before those who come later, so that it gets its turn.
    """

    def __init__(self) -> None:
        self._inside = 0
        self._taken = False
        self._waiting = 0
        self._lot = trio.lowlevel.ParkingLot()

    async def enter(self, *, alone: bool) -> None:
        """Wait until there is room. Cancelled, the caller is outside. No checkpoint if there is."""
        if not alone:
            while self._taken or self._waiting:
                await self._lot.park()
            self._inside += 1
            return
        self._waiting += 1
        try:
            while self._taken or self._inside:
                await self._lot.park()
            self._taken = True
        finally:
            self._waiting -= 1
            self._lot.unpark_all()

    def leave(self, *, alone: bool) -> None:
        if alone:
            self._taken = False
        else:
            self._inside -= 1
        self._lot.unpark_all()
