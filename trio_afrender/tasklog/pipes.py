"""Looks at the reading end of a non-blocking pipe without taking anything out of it."""

from __future__ import annotations

import errno
import os
import select

import trio

__all__ = ("wait_for_bytes",)


async def wait_for_bytes(fd: int) -> bool:
    """Wait until the pipe holds bytes; False when it is empty and its writers are gone.

    Decided by one poll in this thread: a thread call for the end of each output would cost more.
    Raises OSError for a closed descriptor. Not a checkpoint unless it waits.
    """
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while True:
        events = poll.poll(0)
        found = events[0][1] if events else 0
        if found & select.POLLNVAL:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if found:
            # The end shows as a hang-up beside what is left to read, so it counts only alone.
            return bool(found & select.POLLIN)
        await trio.lowlevel.wait_readable(fd)
