"""Whether the agent's loops still turn: each promises when it will be back, none is asked to wake.

A service manager's watchdog is fed only while every promise holds, so an agent whose loops hang
is restarted and one that waits for its server is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs

__all__ = ("LoopWatchdog",)


@attrs.define(eq=False)
class LoopWatchdog:
    """The promises of an agent's loops. `clock` gives seconds, monotonic."""

    clock: Callable[[], float]
    _due: dict[str, tuple[float, float]] = attrs.field(factory=dict)

    def expect_within(self, loop: str, seconds: float = math.inf) -> None:
        """Say that `loop` turns now and will again within `seconds` (no end: it waits, and may)."""
        now = self.clock()
        self._due[loop] = (now, now + seconds)

    def expects(self, loop: str) -> bool:
        """Whether an answer of `loop` is outstanding."""
        return self._due.get(loop, (0.0, math.inf))[1] < math.inf

    def overdue(self) -> tuple[str, ...]:
        """Name the loops that are late, and since when, for people."""
        now = self.clock()
        return tuple(
            f"{loop} has not turned for {now - last:.0f} s"
            for loop, (last, due) in self._due.items()
            if now > due
        )
