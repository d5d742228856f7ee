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
from trio_afrender.hostinfo.memory_headroom import Room
from trio_afrender.task.usage_totals import show_bytes

__all__ = ("Order", "Pressure", "Tree", "next_look")

PART = 8
"""The floor is at most one part in so many of the host's memory, the room twice that."""
FILLING = 2 * 1024**3
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
class Order:
    """What is to be done now."""

    pause: str = ""
    """Why no new task is taken; '' they are."""
    victim: str = ""
    """The run to stop; '' for none."""
    reason: str = ""
    hurry: bool = False
    """Whoever is being stopped has no time left for it."""


class Pressure:
    """Remembers how large the trees were while there was room, and whether the host is closed."""

    def __init__(self, rules: MemoryGuard) -> None:
        self._rules = rules
        self._before: dict[str, int] = {}
        self._closed = False

    def look(self, room: Room, trees: Sequence[Tree]) -> Order:
        """Say what to do, with so much room and these tasks."""
        floor = min(self._rules.floor, room.total // PART)
        enough = max(min(self._rules.room, 2 * room.total // PART), floor)
        if room.available >= enough:
            self._before = {tree.run: tree.resident for tree in trees}
            self._closed = False
            return Order()
        have = f"the host has {show_bytes(room.available)} of memory available"
        if room.available >= floor:
            return Order(pause=self._pause(have, enough))
        self._closed = True
        pause = self._pause(have, enough)
        if any(tree.ending for tree in trees):
            return Order(pause=pause, hurry=room.available < floor // 2)
        if not trees:
            return Order(pause=pause)
        victim = max(trees, key=lambda tree: (self._growth(tree), -tree.age))
        before = self._before.get(victim.run, 0)
        which = (
            f"of {len(trees)} running tasks this one grew most" if trees[1:] else "this task grew"
        )
        reason = (
            f"{have}, memory_guard.floor is {show_bytes(floor)}; {which} since there was room:"
            f" from {show_bytes(before)} to {show_bytes(victim.resident)}"
        )
        return Order(pause=pause, victim=victim.run, reason=reason)

    def _growth(self, tree: Tree) -> int:
        return tree.resident - self._before.get(tree.run, 0)

    def _pause(self, have: str, enough: int) -> str:
        return f"{have}: no new tasks until it is {show_bytes(enough)}" if self._closed else ""


def next_look(rules: MemoryGuard, room: Room) -> float:
    """In how many seconds to look again: before the floor can have been passed."""
    return min(max((room.available - rules.room) / FILLING, SOON), LATE)
