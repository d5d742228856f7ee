"""Orphans that this process adopted as their subreaper: whose they are, and their burial.

Children belong to a process as a whole, so this is the one piece of state that all spawns of a
process share. Nobody here ever waits for "any child": each zombie is collected by its pid, and
only once it is known that no other part of the program is going to ask for its status.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Final, TypeAlias, final

import attrs
import trio

from trio_afrender.child.processes import ProcessFacts, list_adopted, read_facts, read_token

__all__ = ("ORPHANS", "Orphan", "Orphans", "become_subreaper")

UNCLAIMED = 10.0
"""Seconds after which a zombie that nobody asked for is buried. Owners that wait by event take
their own within milliseconds."""

RETRIES = (0.001, 0.002, 0.004, 0.008, 0.016)
"""Pauses in which a process in the middle of an `exec` gets its environment back."""

_Key: TypeAlias = tuple[int, float]


@attrs.frozen(slots=True)
class Orphan:
    """One adopted process; `token` names its task, '' for none, None when that cannot be told."""

    facts: ProcessFacts
    token: str | None

    @property
    def key(self) -> tuple[int, float]:
        return self.facts.pid, self.facts.started


@final
class Orphans:
    """The adopted children of this process."""

    def __init__(self) -> None:
        self._leaders: set[int] = set()
        self._foreign: frozenset[_Key] = frozenset()
        self._tokens: dict[_Key, str] = {}
        self._dead_since: dict[_Key, float] = {}

    def claim(self, leader: int) -> None:
        """Say that `leader` will be collected by whoever spawned it."""
        self._leaders.add(leader)

    def release(self, leader: int) -> None:
        """Say that `leader` has been collected: its number may come again."""
        self._leaders.discard(leader)

    def spare_present(self) -> None:
        """Never bury the children that this process has now: they were not adopted."""
        present = [read_facts(pid) for pid in list_adopted()]
        self._foreign = frozenset((facts.pid, facts.started) for facts in present if facts)

    async def look(self) -> tuple[Orphan, ...]:
        """Return all adopted processes, dead or alive, that no `claim` excludes.

        Complete: whoever descends from a dead leader lives below one of these, or does not live.
        Checkpoints only when it has to wait for a process that is just executing a program.
        """
        for pause in RETRIES:
            orphans = self._list()
            undecided = [each for each in orphans if each.token is None and each.facts.alive]
            if not undecided:
                return orphans
            await trio.sleep(pause)
        for each in undecided:
            self._tokens[each.key] = ""  # it was started with no environment at all
        return self._list()

    def _list(self) -> tuple[Orphan, ...]:
        # A parent that dies while we read hands its children over before it shows as a zombie,
        # but they may land behind the end of what we had read. So a zombie that is new to us
        # asks for another look.
        while True:
            found = [self._identify(facts) for facts in map(read_facts, self._pids()) if facts]
            dead = {each.key for each in found if not each.facts.alive}
            fresh = dead - self._dead_since.keys()
            now = trio.current_time()
            self._dead_since = {key: self._dead_since.get(key, now) for key in dead}
            if not fresh:
                keys = {each.key for each in found}
                self._tokens = {key: self._tokens[key] for key in keys & self._tokens.keys()}
                return tuple(found)

    def _pids(self) -> list[int]:
        return [pid for pid in list_adopted() if pid not in self._leaders]

    def _identify(self, facts: ProcessFacts) -> Orphan:
        key = facts.pid, facts.started
        token = self._tokens.get(key)
        if token is None and facts.alive and (token := read_token(facts.pid)) is not None:
            self._tokens[key] = token
        return Orphan(facts, token)

    def collect(self, facts: ProcessFacts) -> None:
        """Bury a zombie that belongs to the caller's tree."""
        if not facts.alive and facts.pid not in self._leaders:
            with suppress(ChildProcessError):
                os.waitpid(facts.pid, os.WNOHANG)

    def bury(self) -> None:
        """Collect the zombies that nobody has asked for in `UNCLAIMED` seconds."""
        latest = trio.current_time() - UNCLAIMED
        for orphan in self._list():
            if (
                orphan.key not in self._foreign
                and self._dead_since.get(orphan.key, latest) < latest
            ):
                self.collect(orphan.facts)


ORPHANS: Final = Orphans()


def become_subreaper() -> bool:
    """Make this process adopt the orphans of its descendants, until it ends; False where it can't.

    Process-wide, so only a program of our own may do it, before it has tasks. Children that the
    program itself starts should be waited for by event: their status is theirs for 10 s.
    """
    if sys.platform != "linux":
        return False
    import ctypes

    if ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) != 0:  # PR_SET_CHILD_SUBREAPER
        return False
    ORPHANS.spare_present()
    return True
