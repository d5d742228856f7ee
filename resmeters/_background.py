"""Calls that may block, made in a thread: a stuck disk or licence server delays no other."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar, cast

__all__ = ("Background", "NotReady", "wait_for_all")

T = TypeVar("T")


class NotReady(Exception):
    """The call has not ended in time; the text has the seconds since it began."""


class Background(Generic[T]):
    """A function that runs in a thread, at most once at a time.

    A result is reused for `max_age` seconds, so that a server of a thousand hosts is not asked by
    each of them every few seconds.
    """

    def __init__(
        self,
        function: Callable[[], T],
        *,
        max_age: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._function = function
        self._max_age = max_age
        self._clock = clock
        self._ended = threading.Event()
        self._started_at: float | None = None
        self._value: T | None = None
        self._error: Exception | None = None
        self._running = False

    def result(self, timeout: float) -> T:
        """Return the function's result, reused or new. Blocks for at most `timeout` seconds.

        Raises what the function raised, `NotReady`, and `OSError` where the host has no thread. A call
        that never ends is not made again: its thread is the only one.
        """
        self.begin()
        return self.wait(timeout)

    def begin(self) -> None:
        """Start a call, unless one runs or the last result is reused. Raises nothing."""
        now = self._clock()
        is_old = self._started_at is None or now - self._started_at >= self._max_age
        if not is_old or self._running:
            return
        self._started_at, self._running = now, True
        self._ended.clear()
        try:
            # A daemon: a process does not wait at its exit for a disk that never answers.
            threading.Thread(target=self._call, daemon=True).start()
        except RuntimeError as error:
            # The host has no thread left. It may have one the next time.
            self._started_at, self._running = None, False
            self._error = OSError(errno.EAGAIN, str(error))
            self._ended.set()

    def wait(self, timeout: float) -> T:
        """Return the result of the call that was begun, as `result` does."""
        if not self._ended.wait(timeout):
            waited = self._clock() - (self._started_at or 0.0)
            raise NotReady(f"no answer for {waited:.0f} s")
        if self._error is not None:
            raise self._error
        return cast("T", self._value)

    def _call(self) -> None:
        try:
            self._value, self._error = self._function(), None
        except Exception as error:  # noqa: BLE001 - `result` raises it
            self._error = error
        # The flag first: once `_ended` is set, `result` may start the next call.
        self._running = False
        self._ended.set()


def wait_for_all(
    calls: Iterable[tuple[str, Background[T]]], timeout: float
) -> Iterator[tuple[str, T | Exception]]:
    """Make calls at the same time; yield the result of each, or what it raised, by its name.

    Blocks for at most `timeout` seconds for all of them together: an update of a meter that waits for
    each that hangs would exceed the time limit of plugins.
    """
    begun = list(calls)
    for _, call in begun:
        call.begin()
    until = time.monotonic() + timeout
    for name, call in begun:
        try:
            yield name, call.wait(max(until - time.monotonic(), 0.0))
        except Exception as error:  # noqa: BLE001 - the caller shows it
            yield name, error
