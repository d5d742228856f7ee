"""Asks what may be slow aside, so that a stuck disk or licence server costs only its own line."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar, cast

__all__ = ("Aside", "Late")

T = TypeVar("T")


class Late(Exception):
    """There is no answer yet; the text says for how long it was waited for."""


class Aside(Generic[T]):
    """One question that is asked in a thread of its own, at most one at a time.

    `every` is how many seconds an answer is good for: who serves a thousand hosts should not be
    asked by each of them every few seconds.
    """

    def __init__(
        self,
        question: Callable[[], T],
        *,
        every: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._question = question
        self._every = every
        self._clock = clock
        self._answered = threading.Event()
        self._asked: float | None = None
        self._value: T | None = None
        self._error: Exception | None = None
        self._under_way = False

    def answer(self, patience: float) -> T:
        """The answer, asked for now or fresh enough; waits `patience` seconds at most.

        Raises what the question raised, and `Late`. A question that never ends is not asked
        again while it is under way.
        """
        now = self._clock()
        if not self._under_way and (self._asked is None or now - self._asked >= self._every):
            self._asked, self._under_way = now, True
            self._answered.clear()
            threading.Thread(target=self._ask, daemon=True).start()
        if not self._answered.wait(patience):
            waited = self._clock() - (self._asked or now)
            raise Late(f"no answer for {waited:.0f} s")
        if self._error is not None:
            raise self._error
        return cast("T", self._value)

    def _ask(self) -> None:
        try:
            self._value, self._error = self._question(), None
        except Exception as error:  # noqa: BLE001 - raised where the answer is wanted
            self._error = error
        self._under_way = False
        self._answered.set()
