"""Orphans that escaped from their tree: find them, assign them to a tree, and reap them.

A process that loses its parent becomes a child of its nearest ancestor that is a subreaper, or
of init. That is this process (`ADOPTED_ORPHANS`) or one of its own ancestors (`OTHER_ORPHANS`).
Both have a list of children that takes microseconds to read.

Children belong to a process as a whole, so this is the one piece of state that all spawns of a
process share. Nothing here waits for "any child": each zombie is reaped by its pid, and only
once no other part of the program can need its status.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import uuid
from collections.abc import Callable
from typing import Final, TypeAlias, final

import attrs
import trio

from trio_afrender.process.procfs import (
    TOKEN_NAME,
    ProcessFacts,
    list_adopted,
    list_beside,
    read_facts,
    read_token,
)

__all__ = (
    "ADOPTED_ORPHANS",
    "OTHER_ORPHANS",
    "Orphan",
    "Orphans",
    "become_subreaper",
    "claim",
    "clear",
    "is_sole_suspect",
    "release",
    "suspect",
)

REAP_UNCLAIMED_AFTER = 10.0
"""Seconds after which a zombie without an owner is reaped. Owners that wait by event reap theirs
within milliseconds."""

ENVIRONMENT_RETRY_DELAYS = (0.001, 0.002, 0.004, 0.008, 0.016)
"""Pauses in which a process in the middle of an `exec` gets its environment back."""

_Key: TypeAlias = tuple[int, float]


@attrs.frozen(slots=True)
class Orphan:
    """One adopted process; `token` names its task, '' for none, None when it is unknown."""

    facts: ProcessFacts
    token: str | None

    @property
    def key(self) -> tuple[int, float]:
        return self.facts.pid, self.facts.started


_LEADERS: Final[set[int]] = set()
_SUSPECTS: Final[dict[str, float]] = {}
"""Trees that are not proven empty: token and start. A process without a token is a member of one of
those that were there when it was started."""


def claim(leader: int) -> None:
    """Note that the child `leader` is no orphan: the code that spawned it reaps it."""
    _LEADERS.add(leader)


def release(leader: int) -> None:
    """Note that `leader` has been reaped: its number may be used again."""
    _LEADERS.discard(leader)


def suspect(token: str, started: float) -> None:
    """Note that the tree of `token` runs since `started` (clock ticks)."""
    _SUSPECTS[token] = started


def clear(token: str) -> None:
    """Note that the tree of `token` ends: the processes that it may have started are searched now.

    Before the look, not after it: of two trees that end together one must be the last.
    """
    _SUSPECTS.pop(token, None)


def is_sole_suspect(token: str, facts: ProcessFacts) -> bool:
    """Whether no other living tree than that of `token` can have started this adopted process.

    While several can, it is assigned to none; the last of them to end finds it.
    """
    return not any(started <= facts.started for each, started in _SUSPECTS.items() if each != token)


@final
class Orphans:
    """The processes among which escaped members may be found, and what is known of them.

    A process that belongs to no task is not read again for `trust` seconds. The clock is not
    trio's, and there is a lock, because a process may run several loops: in turn or in threads.
    """

    def __init__(
        self,
        list_pids: Callable[[], list[int]],
        *,
        trust: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._list_pids = list_pids
        self._trust = trust
        self._clock = clock
        self._lock = threading.Lock()
        self._unrelated: dict[int, float] = {}
        self._foreign: frozenset[_Key] = frozenset()
        self._tokens: dict[_Key, str] = {}
        self._dead_since: dict[_Key, float] = {}

    def spare_present(self) -> None:
        """Never reap the children that this process has now: they were not adopted."""
        present = [read_facts(pid) for pid in list_adopted()]
        self._foreign = frozenset((facts.pid, facts.started) for facts in present if facts)

    async def look(self) -> tuple[tuple[Orphan, ...], bool]:
        """Return all orphans, dead or alive, that no `claim` excludes, and whether that is final.

        It is not when a zombie is new to us. A parent that dies while we read hands its children
        over before it shows as a zombie, but they may land behind the end of what we had read.
        Else every living descendant of a dead leader is below one of these.
        Checkpoints only when it has to wait for a process that is just executing a program.
        """
        final = True
        for pause in ENVIRONMENT_RETRY_DELAYS:
            known = self._dead_since.keys()
            orphans = self._list()
            final = self._dead_since.keys() <= known
            undecided = [each for each in orphans if each.token is None and each.facts.alive]
            if not undecided:
                return orphans, final
            await trio.sleep(pause)
        with self._lock:  # they were started with no environment at all
            self._tokens |= {each.key: "" for each in undecided}
        return orphans, final

    def _list(self) -> tuple[Orphan, ...]:
        now = self._clock()
        with self._lock:
            # The youngest first: of a chain of daemons that fork and end it is the one that lives.
            pids = reversed(self._pids(now))
            found = [self._identify(facts) for facts in map(read_facts, pids) if facts]
            self._unrelated |= {each.facts.pid: now for each in found if each.token == ""}
            dead = [each.key for each in found if not each.facts.alive]
            self._dead_since = {key: self._dead_since.get(key, now) for key in dead}
            keys = {each.key for each in found}
            self._tokens = {key: self._tokens[key] for key in keys & self._tokens.keys()}
        return tuple(found)

    def _pids(self, now: float) -> list[int]:
        since = now - self._trust
        self._unrelated = {pid: seen for pid, seen in self._unrelated.items() if seen > since}
        skip = _LEADERS | self._unrelated.keys()
        return [pid for pid in self._list_pids() if pid not in skip]

    def _identify(self, facts: ProcessFacts) -> Orphan:
        key = facts.pid, facts.started
        token = self._tokens.get(key)
        if token is None and facts.alive and (token := read_token(facts.pid)) is not None:
            self._tokens[key] = token
        return Orphan(facts, token)

    def collect(self, facts: ProcessFacts) -> bool:
        """Reap a zombie of the caller's tree; False when it is not for the caller to reap."""
        if facts.alive or facts.pid in _LEADERS:
            return False
        try:
            return os.waitpid(facts.pid, os.WNOHANG)[0] == facts.pid
        except ChildProcessError:
            return False

    def reap_unclaimed(self) -> None:
        """Reap the zombies that had no owner for `REAP_UNCLAIMED_AFTER` seconds."""
        latest = self._clock() - REAP_UNCLAIMED_AFTER
        for orphan in self._list():
            if (
                orphan.key not in self._foreign
                and self._dead_since.get(orphan.key, latest) < latest
            ):
                self.collect(orphan.facts)


ADOPTED_ORPHANS: Final = Orphans(list_adopted)
"""Orphans of a process that is a subreaper. Complete, once the leader of a tree has ended."""
OTHER_ORPHANS: Final = Orphans(list_beside, trust=1.0)
"""Orphans of one that did not ask for them. A host that hides processes (`hidepid`) hides them too."""


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
    # Our own helpers inherit it: so an adopted process without any token is no helper of ours,
    # it is a task's, which has dropped its environment.
    os.environ.setdefault(TOKEN_NAME.decode().rstrip("="), f"agent-{uuid.uuid4().hex}")
    ADOPTED_ORPHANS.spare_present()
    return True
