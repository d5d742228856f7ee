"""What tasks of a round are made of, and what the farm may say of them in the end."""

from __future__ import annotations

import random
import shlex
import sys
from pathlib import Path

import attrs

__all__ = ("Plan", "plan_task")

PROGRAM = Path(__file__).parents[1] / "programs" / "shape.py"
ENDING = ("plain", "leader_first", "session", "daemon", "chain", "zombies", "fail")
"""Shapes whose leader ends by itself."""
STAYING = ("linger", "ignore_term", "freeze", "flood", "crowd")
"""Shapes that have to be stopped."""


@attrs.frozen(kw_only=True)
class Plan:
    """One task of a round."""

    shape: str
    lines: int
    stop_after: float | None
    """Seconds after its start at which the farm stops it; None: never."""

    def command(self, mark: str) -> str:
        words = (sys.executable, str(PROGRAM), self.shape, str(self.lines), mark)
        return shlex.join(words)

    @property
    def states(self) -> frozenset[str]:
        """How it may end: a stop may come too late for a task that ends by itself."""
        own = "error" if self.shape == "fail" else "done"
        if self.shape in STAYING:
            return frozenset({"killed"})
        return frozenset({own, "killed"} if self.stop_after is not None else {own})


def plan_task(dice: random.Random, *, heavy: bool) -> Plan:
    """Throw one task. `heavy` rounds may have a thousand children."""
    shape = dice.choice((*ENDING, *STAYING, *(("thousand",) if heavy else ())))
    stopped = shape in STAYING or dice.random() < 0.2
    return Plan(
        shape=shape,
        lines=dice.choice((0, 1, 10, 1000, 30_000)),
        stop_after=dice.uniform(0.0, 0.6) if stopped else None,
    )
