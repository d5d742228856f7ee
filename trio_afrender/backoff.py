"""How long to wait before the next try: exponential, with jitter, under one of two caps.

While results or tasks are held the wait stays short, because a server gives our tasks to
somebody else after its zombie time; an idle agent may wait longer and spare the server.
"""

from __future__ import annotations

import random
from typing import Protocol

__all__ = ("Backoff", "Dice")

IDLE_CAP = 60.0
HELD_CAP = 5.0


class Dice(Protocol):
    """What is asked of a `random.Random`."""

    def uniform(self, a: float, b: float, /) -> float: ...


class Backoff:
    """The waits between tries, in seconds; each `delay()` is one try more.

    Call `reset` when the peer has *said* something, not when it merely accepted: a server that
    accepts and drops must not be hammered.
    """

    def __init__(
        self, *, first: float = 0.5, factor: float = 2.0, dice: Dice | None = None
    ) -> None:
        if first <= 0 or factor < 1:
            raise ValueError("a backoff needs a first wait above 0 and a factor of at least 1")
        self._first = first
        self._factor = factor
        self._dice: Dice = random.Random() if dice is None else dice  # noqa: S311 - jitter, no secret
        self._next = first

    def delay(self, *, held: bool, zombie: float = 16.0) -> float:
        """The next wait: uniform in d/2..d, where d doubles up to the cap.

        `held`: a task or an outcome is in our hands, so the cap is min(5 s, zombie / 4).
        The cap bounds this wait alone: how far the doubling got is kept when `held` changes.
        """
        cap = min(HELD_CAP, zombie / 4) if held else IDLE_CAP
        wait = min(self._next, cap)
        self._next = min(self._next * self._factor, IDLE_CAP)
        return self._dice.uniform(wait / 2, wait)

    def reset(self) -> None:
        """Start over with the first wait."""
        self._next = self._first
