"""A listening socket for a loop around `poll`, which does not spin where no connection can be accepted."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import time
from collections.abc import Callable
from typing import TypeVar

from trio_afrender.supervisor.peer_credentials import check_peer

__all__ = ("ListeningSocket",)

logger: logging.Logger = logging.getLogger(__name__)

PAUSE = 0.1
"""Seconds without a look at the socket after the kernel refused a connection."""
RESERVE = 2
_T = TypeVar("_T")
_REFUSED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


class ListeningSocket:
    """Accepts connections of this user and of root, but of no task. It owns the socket.

    A connection that cannot be accepted, because no descriptor is left, stays in the kernel's queue:
    each `poll` would report it at once, and the loop would take a whole core. So the socket is not
    polled while `pause_left` is above 0. With `reserve` two descriptors are held back, one for the
    agent that takes over the trees which use up all others, one to find out who that is
    (test_a_loop_without_descriptors_does_not_spin).
    """

    def __init__(self, sock: socket.socket, *, reserve: bool = False) -> None:
        self._sock = sock
        self._reserve: list[int] = []
        self._has_reserve = reserve
        self._paused_until = 0.0
        self._refill()

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def pause_left(self) -> float:
        """Seconds for which it is not polled."""
        return max(0.0, self._paused_until - time.monotonic())

    def accept(self) -> socket.socket | None:
        """Accept one connection; None if there is none, or none can be accepted now."""
        self._refill()
        try:
            # Two at once, or the connection stays in the queue: one that is accepted and cannot be
            # checked would have to be refused.
            spare = self._use_reserve(lambda: os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            try:
                sock = self._use_reserve(lambda: self._sock.accept()[0])
            finally:
                os.close(spare)
        except OSError as error:
            if error.errno in _REFUSED:
                if not self._paused_until:
                    logger.warning("cannot accept a connection: %s", error.strerror)
                self._paused_until = time.monotonic() + PAUSE
            return None
        self._paused_until = 0.0
        try:
            check_peer(sock)
        except OSError as error:
            logger.warning("refused a connection: %s", error)
            sock.close()
            return None
        return sock

    def _use_reserve(self, call: Callable[[], _T]) -> _T:
        try:
            return call()
        except OSError as error:
            if error.errno not in _REFUSED or not self._reserve:
                raise
        os.close(self._reserve.pop())
        return call()

    def _refill(self) -> None:
        with contextlib.suppress(OSError):
            while self._has_reserve and len(self._reserve) < RESERVE:
                self._reserve.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    def close(self) -> None:
        self._sock.close()
        while self._reserve:
            os.close(self._reserve.pop())
