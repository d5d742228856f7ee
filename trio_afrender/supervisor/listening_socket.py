"""A listening socket for a loop around `poll`, which does not spin where no connection can be accepted."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import time

from trio_afrender.supervisor.unix_sockets import peer_uid

__all__ = ("ListeningSocket",)

logger = logging.getLogger(__name__)

PAUSE = 0.1
"""Seconds without a look at the socket after the kernel refused a connection."""
_REFUSED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


class ListeningSocket:
    """Accepts connections of this user and of root. It owns the socket.

    A connection that cannot be accepted, because no descriptor is left, stays in the kernel's queue:
    each `poll` would report it at once, and the loop would take a whole core. So the socket is not
    polled while `pause_left` is above 0. With `reserve` one descriptor is held back, for the agent
    that takes over the trees which use up all others
    (test_a_loop_without_descriptors_does_not_spin).
    """

    def __init__(self, sock: socket.socket, *, reserve: bool = False) -> None:
        self._sock = sock
        self._reserve: int | None = None
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
            sock = self._accept()
        except OSError as error:
            if error.errno in _REFUSED:
                if not self._paused_until:
                    logger.warning("cannot accept a connection: %s", error.strerror)
                self._paused_until = time.monotonic() + PAUSE
            return None
        self._paused_until = 0.0
        with contextlib.suppress(OSError):
            if peer_uid(sock) in (os.getuid(), 0):
                return sock
        sock.close()
        return None

    def _accept(self) -> socket.socket:
        try:
            return self._sock.accept()[0]
        except OSError as error:
            if error.errno not in _REFUSED or self._reserve is None:
                raise
        os.close(self._reserve)
        self._reserve = None
        return self._sock.accept()[0]

    def _refill(self) -> None:
        if self._has_reserve and self._reserve is None:
            with contextlib.suppress(OSError):
                self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        self._sock.close()
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None
