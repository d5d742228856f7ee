"""Detects loops of the agent that hang, for a service manager's watchdog.

Each loop reports the time within which it will report again. A loop that is late hangs. The
watchdog is fed only while no loop is late, so an agent that hangs is restarted, while one that
waits for its server is not: it reports without a time limit. No loop has to wake up for this.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs

__all__ = ("LoopWatchdog",)


@attrs.define(eq=False)
class LoopWatchdog:
    """When each loop of an agent is due to report. `clock` returns monotonic seconds."""

    clock: Callable[[], float]
    _due: dict[str, tuple[float, float]] = attrs.field(factory=dict)
    """For each loop, when it last reported and when it is due."""

    def expect_within(self, loop: str, seconds: float = math.inf) -> None:
        """Report that `loop` runs and will report again within `seconds`; by default at any time."""
        now = self.clock()
        self._due[loop] = (now, now + seconds)

    def expects(self, loop: str) -> bool:
        """Return whether `loop` has a time limit at the moment."""
        return self._due.get(loop, (0.0, math.inf))[1] < math.inf

    def overdue(self) -> tuple[str, ...]:
        """Return a sentence for each loop that is late, with the time since its last report."""
        now = self.clock()
        return tuple(
            f"{loop} has not run for {now - last:.0f} s"
            for loop, (last, due) in self._due.items()
            if now > due
        )
