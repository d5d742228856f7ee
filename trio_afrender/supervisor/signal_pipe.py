"""Turns signals into something that `poll` sees."""

from __future__ import annotations

import contextlib
import os
import signal

__all__ = ("SignalPipe",)


class SignalPipe:
    """A pipe into which the interpreter writes a byte for each signal. One a process."""

    def __init__(self) -> None:
        self.descriptor, self._writing = os.pipe()
        os.set_blocking(self.descriptor, False)
        os.set_blocking(self._writing, False)
        self._terms = 0
        signal.signal(signal.SIGCHLD, _ignore)
        signal.signal(signal.SIGTERM, self._note_term)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)

    @property
    def descriptors(self) -> tuple[int, int]:
        return self.descriptor, self._writing

    def take_term(self) -> bool:
        """Whether a TERM has come since the last call."""
        terms, self._terms = self._terms, 0
        return terms > 0

    def _note_term(self, _number: int, _frame: object) -> None:
        self._terms += 1

    def clear(self) -> None:
        """Forget the bytes that have come."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.descriptor, 4096):
                pass


def _ignore(_number: int, _frame: object) -> None:
    """The byte in the pipe is all that is needed; SIG_IGN would lose the children."""
