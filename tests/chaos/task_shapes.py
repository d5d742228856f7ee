"""What tasks of a round are made of, and what the farm may say of them in the end."""

from __future__ import annotations

import random
import shlex
import sys
from pathlib import Path

import attrs

__all__ = ("ENDING", "ESCAPING", "FLOODS", "RARE", "STAYING", "Plan", "plan_task")

PROGRAM = Path(__file__).parents[1] / "programs" / "tree_shape.py"
ENDING = ("plain", "fail", "leader_first", "session", "daemon", "chain", "zombies")
"""Shapes whose leader ends by itself."""
FLOODS = ("flood", "flood_on")
STAYING = ("linger", "ignore_term", "freeze", "crowd", "storm", "runaway", "undead", *FLOODS)
"""Shapes that have to be stopped."""
RARE = ("thousand",)
"""Dear ones; they have to be stopped, too."""
ESCAPING = ("daemon",)
"""Shapes that drop their environment: when those who held them are killed, nobody can know them."""
RARITY = 0.002


@attrs.frozen(kw_only=True)
class Plan:
    """One task of a round."""

    shape: str
    lines: int
    stop_after: float | None
    """Seconds after its start at which the farm stops it; None: never."""

    def command(self, mark: str) -> str:
        words = (sys.executable, "-I", "-S", str(PROGRAM), self.shape, str(self.lines), mark)
        return shlex.join(words)

    @property
    def states(self) -> frozenset[str]:
        """How it may end: a stop may come too late for a task that ends by itself."""
        own = "error" if self.shape == "fail" else "done"
        if self.shape in (*STAYING, *RARE):
            return frozenset({"killed"})
        return frozenset({own, "killed"} if self.stop_after is not None else {own})


def plan_task(dice: random.Random, avoided: tuple[str, ...] = ()) -> Plan:
    """Throw one task of a shape that is not `avoided`. Every second one is an ordinary one."""
    shapes = RARE if dice.random() < RARITY else (*ENDING, *STAYING, *("plain",) * len(STAYING))
    shape = dice.choice([shape for shape in shapes if shape not in avoided])
    stopped = shape in (*STAYING, *RARE) or dice.random() < 0.2
    return Plan(
        shape=shape,
        lines=dice.choice((0, 1, 10, 10, 100, 1000, 30_000)),
        stop_after=dice.choice((0.0, dice.uniform(0.0, 0.2))) if stopped else None,
    )
