"""Delays between attempts to connect: exponential, with jitter, below one of two caps.

While the agent holds tasks or results the delay stays short, because a server assigns the tasks to
another render after its zombie time. An idle agent waits longer, which saves the server work.
"""

from __future__ import annotations

import random
from typing import Protocol

__all__ = ("Backoff", "Jitter")

FIRST_DELAY = 0.5
FACTOR = 2.0
IDLE_CAP = 60.0
HELD_CAP = 5.0
"""Seconds; the cap while something is held is a quarter of the zombie time where that is less."""


class Jitter(Protocol):
    """The part of `random.Random` that a backoff uses."""

    def uniform(self, a: float, b: float, /) -> float: ...


class Backoff:
    """Delays between attempts, in seconds: each `delay()` counts one attempt more.

    Call `reset` when a message has been *received*, not when the peer has accepted a connection: a
    server that accepts connections and drops them must not get one attempt after another.
    """

    def __init__(self, jitter: Jitter | None = None) -> None:
        self._jitter: Jitter = random.Random() if jitter is None else jitter  # noqa: S311 - no secret
        self._next = FIRST_DELAY

    def delay(self, *, held: bool, zombie: float = 16.0) -> float:
        """Return the next delay: uniform in d/2..d, where d is multiplied by `FACTOR` up to the cap.

        `held`: the agent has a task or an outcome, so the cap is min(5 s, `zombie` / 4), else 60 s.
        The cap limits this delay alone: d continues to grow, so it is right when `held` changes.
        """
        cap = min(HELD_CAP, zombie / 4) if held else IDLE_CAP
        delay = min(self._next, cap)
        self._next = min(self._next * FACTOR, IDLE_CAP)
        return self._jitter.uniform(delay / 2, delay)

    def reset(self) -> None:
        """Start again with the first delay."""
        self._next = FIRST_DELAY
