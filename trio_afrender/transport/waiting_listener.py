"""Listeners that wait where no connection can be accepted, with one line in the log."""

from __future__ import annotations

import errno
import logging
import os
from typing import TypeVar

import trio

from trio_afrender.transport.repeated_lines import RepeatedLines

__all__ = ("WaitingListener",)

_log = logging.getLogger(__name__)
_StreamT = TypeVar("_StreamT", bound=trio.abc.Stream)

PAUSE = 0.1
"""Seconds before the next try; the connections wait in the kernel's queue."""
_REFUSED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


class WaitingListener(trio.abc.Listener[_StreamT]):
    """Accepts what `listener` accepts, later if this process or host has no descriptor or memory.

    `trio.serve_listeners` would log a traceback at each try, ten times a second.
    """

    def __init__(self, listener: trio.abc.Listener[_StreamT], what: str) -> None:
        """`what` names the connections in the log, as in "agents"."""
        self._listener = listener
        self._what = what
        self._lines = RepeatedLines(_log, trio.current_time, lines=1)

    async def accept(self) -> _StreamT:
        while True:
            try:
                stream = await self._listener.accept()
            except OSError as error:
                if error.errno not in _REFUSED:
                    raise
                number = error.errno
            else:
                self._lines.flush()
                return stream
            self._lines.log(
                logging.WARNING,
                "",
                f"{self._what}: connections that had to wait",
                "%s: no connection can be accepted now: %s",
                self._what,
                os.strerror(number),
            )
            await trio.sleep(PAUSE)

    async def aclose(self) -> None:
        await self._listener.aclose()
