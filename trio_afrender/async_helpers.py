"""Small tools over trio: events that repeat, the first of several waits, nurseries without groups."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

__all__ = ("RepeatedEvent", "flatten", "open_bare_nursery", "wait_any")


class RepeatedEvent:
    """An event that happens any number of times. `set` wakes the tasks that wait at that moment.

    Nothing is kept for later: a task that has to see every change checks its condition first, as in
    ``while not done: await changed.wait()``.
    """

    def __init__(self) -> None:
        self._waiting = trio.lowlevel.ParkingLot()

    def set(self) -> None:
        self._waiting.unpark_all()

    async def wait(self) -> None:
        """Wait for the next `set`."""
        await self._waiting.park()


async def wait_any(*functions: Callable[[], Awaitable[object]]) -> None:
    """Call all functions at once; return when the first has returned. The others are cancelled."""
    async with trio.open_nursery() as nursery:

        async def run(function: Callable[[], Awaitable[object]]) -> None:
            await function()
            nursery.cancel_scope.cancel()

        for function in functions:
            nursery.start_soon(run, function)


@asynccontextmanager
async def open_bare_nursery() -> AsyncIterator[trio.Nursery]:
    """Open a nursery for helper tasks of the body, which are cancelled when the body ends.

    A single exception leaves the context as it is, not in a group.
    """
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            finally:
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        real = [error for error in group.exceptions if not isinstance(error, trio.Cancelled)]
        error = group if len(real) > 1 else (real or group.exceptions)[0]
    else:
        return
    # Raised outside the except block: inside, the group would become the exception's context.
    raise error


def flatten(group: BaseExceptionGroup[Exception]) -> list[Exception]:
    """Return the exceptions in a group and in the groups within it."""
    found: list[Exception] = []
    for error in group.exceptions:
        found.extend(flatten(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found
