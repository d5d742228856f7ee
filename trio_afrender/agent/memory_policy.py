"""What to do when the host runs short of memory. Pure: looks in, orders out.

The rule: when less than the floor is available, the task whose tree grew most since there was room
is stopped and given back; of several that grew alike the youngest. One at a time: the next is chosen
only when the tree before is empty and there is still too little. There is room while
`MemoryGuard.room` is available; from the floor on until then the host takes no new task.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from trio_afrender.config import MemoryGuard
from trio_afrender.hostinfo.memory import MemoryHeadroom
from trio_afrender.task.usage_totals import show_bytes

__all__ = ("Decision", "MemoryPolicy", "Tree", "next_look")

FLOOR_FRACTION = 8
"""The floor is at most one part in so many of the host's memory, the room twice that."""
MAX_FILL_RATE = 2 * 1024**3
"""Bytes a second that a host's tasks are thought to take at the most."""
SOON, LATE = 0.25, 5.0
"""Seconds between two looks at the least and at the most."""


@attrs.frozen(slots=True, kw_only=True)
class Tree:
    """One running task."""

    run: str
    age: float
    """Seconds since it was taken."""
    resident: int
    """Bytes of memory of all its processes."""
    ending: bool = False
    """It is being stopped, for whatever reason: its memory will come back."""


@attrs.frozen(slots=True, kw_only=True)
class Decision:
    """What is to be done now."""

    pause: str = ""
    """Why no new task is taken; '' they are."""
    victim: str = ""
    """The run to stop; '' for none."""
    reason: str = ""
    stop_now: bool = False
    """Whoever is being stopped has no time left for it."""


class MemoryPolicy:
    """Remembers how large the trees were while there was room, and whether the host is closed."""

    def __init__(self, rules: MemoryGuard) -> None:
        self._rules = rules
        self._before: dict[str, int] = {}
        self._closed = False

    def look(self, room: MemoryHeadroom, trees: Sequence[Tree]) -> Decision:
        """Say what to do, with so much room and these tasks."""
        floor = min(self._rules.floor, room.total // FLOOR_FRACTION)
        enough = max(min(self._rules.room, 2 * room.total // FLOOR_FRACTION), floor)
        if room.available >= enough:
            self._before = {tree.run: tree.resident for tree in trees}
            self._closed = False
            return Decision()
        have = f"the host has {show_bytes(room.available)} of memory available"
        if room.available >= floor:
            return Decision(pause=self._pause(have, enough))
        self._closed = True
        pause = self._pause(have, enough)
        if any(tree.ending for tree in trees):
            return Decision(pause=pause, stop_now=room.available < floor // 2)
        if not trees:
            return Decision(pause=pause)
        victim = max(trees, key=lambda tree: (self._growth(tree), -tree.age))
        before = self._before.get(victim.run, 0)
        which = (
            f"of {len(trees)} running tasks this one grew most" if trees[1:] else "this task grew"
        )
        reason = (
            f"{have}, memory_guard.floor is {show_bytes(floor)}; {which} since there was room:"
            f" from {show_bytes(before)} to {show_bytes(victim.resident)}"
        )
        return Decision(pause=pause, victim=victim.run, reason=reason)

    def _growth(self, tree: Tree) -> int:
        return tree.resident - self._before.get(tree.run, 0)

    def _pause(self, have: str, enough: int) -> str:
        return f"{have}: no new tasks until it is {show_bytes(enough)}" if self._closed else ""


def next_look(rules: MemoryGuard, room: MemoryHeadroom) -> float:
    """In how many seconds to look again: before the floor can have been passed."""
    return min(max((room.available - rules.room) / MAX_FILL_RATE, SOON), LATE)
