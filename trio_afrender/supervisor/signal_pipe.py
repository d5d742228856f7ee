"""A pipe that becomes readable when a signal arrives, so that one `poll` waits for everything."""

from __future__ import annotations

import contextlib
import os
import signal

__all__ = ("SignalPipe",)


class SignalPipe:
    """Receives SIGCHLD and SIGTERM for a loop around `poll`. One for each process.

    SIGINT and SIGHUP are ignored. It lives as long as its process: nothing closes it.
    """

    def __init__(self) -> None:
        self.descriptor: int
        self.descriptor, self._writing = os.pipe()
        """The read end, and the end into which the interpreter writes a byte for each signal."""
        os.set_blocking(self.descriptor, False)
        os.set_blocking(self._writing, False)
        self._terms = 0
        # A Python handler that does nothing, because the byte in the pipe suffices. SIG_IGN would
        # not do: the kernel then reaps children by itself, and their wait statuses are lost.
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.signal(signal.SIGTERM, self._count_term)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        # With a full pipe `poll` returns anyhow, so a byte that does not fit is no loss.
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)

    def take_term(self) -> bool:
        """Return whether SIGTERM has arrived since the last call."""
        terms, self._terms = self._terms, 0
        return terms > 0

    def _count_term(self, _number: int, _frame: object) -> None:
        self._terms += 1

    def clear(self) -> None:
        """Empty the pipe. Call it before looking for what the signals are about."""
        # The other order would lose a signal that arrives between the look and the emptying.
        with contextlib.suppress(BlockingIOError):
            while os.read(self.descriptor, 4096):
                pass
