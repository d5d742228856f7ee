"""Calls that may block, made in a thread: a stuck disk or licence server delays no other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar, cast

__all__ = ("Background", "NotReady")

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

        Raises what the function raised, and `NotReady`. A call that never ends is not made again:
        its thread is the only one.
        """
        now = self._clock()
        is_old = self._started_at is None or now - self._started_at >= self._max_age
        if is_old and not self._running:
            self._started_at, self._running = now, True
            self._ended.clear()
            # A daemon: a process does not wait at its exit for a disk that never answers.
            threading.Thread(target=self._call, daemon=True).start()
        if not self._ended.wait(timeout):
            waited = self._clock() - (self._started_at or now)
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
