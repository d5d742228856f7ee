"""The tasks of a round: shapes of process trees, and the states in which each may end."""

from __future__ import annotations

import random
import shlex
import sys
from pathlib import Path

import attrs

__all__ = ("ENDING", "ENDLESS", "ESCAPING", "FLOODS", "PICTURE", "RARE", "TaskPlan", "plan_task")

PROGRAM = Path(__file__).parents[1] / "programs" / "tree_shape.py"
PICTURE = "picture"
"""A frame that is checked, and of which a thumbnail is made."""
ENDING = ("plain", PICTURE, "fail", "leader_first", "session", "daemon", "chain", "zombies")
"""Shapes whose leader ends by itself."""
FLOODS = ("flood", "flood_on")
ENDLESS = ("linger", "ignore_term", "freeze", "crowd", "storm", "runaway", "undead", *FLOODS)
"""Shapes that have to be stopped."""
RARE = ("thousand",)
"""Slow shapes that have to be stopped too."""
ESCAPING = ("daemon",)
"""Shapes that clear their environment: without their supervisors nothing identifies them."""
RARE_PROBABILITY = 0.002


@attrs.frozen(kw_only=True)
class TaskPlan:
    """One task of a round."""

    shape: str
    lines: int
    stop_after: float | None
    """Seconds after its start at which the farm stops it; None: never."""

    def command(self, mark: str) -> str:
        shape = "plain" if self.shape == PICTURE else self.shape
        words = (sys.executable, "-I", "-S", str(PROGRAM), shape, str(self.lines), mark)
        return shlex.join(words)

    @property
    def states(self) -> frozenset[str]:
        """The permitted final states: a stop may come too late for a task that ends by itself."""
        own = "error" if self.shape == "fail" else "done"
        if self.shape in (*ENDLESS, *RARE):
            return frozenset({"killed"})
        return frozenset({own, "killed"} if self.stop_after is not None else {own})


def plan_task(rng: random.Random, avoided: tuple[str, ...] = ()) -> TaskPlan:
    """Draw a task of a shape that is not `avoided`. Every second task is a plain one."""
    shapes = (
        RARE if rng.random() < RARE_PROBABILITY else (*ENDING, *ENDLESS, *("plain",) * len(ENDLESS))
    )
    shape = rng.choice([shape for shape in shapes if shape not in avoided])
    stopped = shape in (*ENDLESS, *RARE) or rng.random() < 0.2
    return TaskPlan(
        shape=shape,
        lines=rng.choice((0, 1, 10, 10, 100, 1000, 30_000)),
        stop_after=rng.choice((0.0, rng.uniform(0.0, 0.2))) if stopped else None,
    )
