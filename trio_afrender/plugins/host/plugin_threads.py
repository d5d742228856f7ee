"""The threads of a plugin host as the agent knows them: which run has which."""

from __future__ import annotations

__all__ = ("NO_THREAD", "PluginThreads")

KEPT_THREADS = 16
"""Threads kept for runs to come: as many as tiny tasks run at once, not as many as ever did."""
NO_THREAD = (0, 0)
"""Instead of a thread that is not known."""


class PluginThreads:
    """Numbers threads and gives each to one run at a time.

    A thread is used again only if no code but our own was in its last run, and no call of that run
    may still be under way: what a plugin leaves behind, or does not leave, is nobody else's.
    """

    def __init__(self) -> None:
        self._last = 0
        self._spare: list[int] = []
        self._of: dict[int, int] = {}
        self._clean: set[int] = set()
        self._ids: dict[int, tuple[int, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._of)

    def __contains__(self, run: int) -> bool:
        return run in self._of

    @property
    def next(self) -> int:
        """The number of the thread that will be taken next: a new one if there is none to spare."""
        return self._spare[-1] if self._spare else self._last + 1

    def take(self, run: int) -> None:
        """Give a run the next thread, until `give_back`."""
        self._of[run] = self.next
        if self._spare:
            self._spare.pop()
        else:
            self._last += 1

    def name(self, number: int, native: int, ident: int) -> None:
        """Take note of what the system and the interpreter call a thread that has begun."""
        if number in self._of.values():  # else it has been given back, and is about to end
            self._ids[number] = (native, ident)

    def mark_clean(self, run: int) -> None:
        """Let the thread be used again after this run."""
        if run in self._of:
            self._clean.add(run)

    def mark_unclean(self, run: int) -> None:
        self._clean.discard(run)

    def give_back(self, run: int) -> bool:
        """Take a run's thread away from it; return whether it must end with it."""
        number = self._of.pop(run)
        kept = run in self._clean and len(self._spare) < KEPT_THREADS
        self._clean.discard(run)
        if kept:
            self._spare.append(number)
        else:
            self._ids.pop(number, None)
        return not kept

    def ids(self, run: int) -> tuple[int, int]:
        """What the system and the interpreter call a run's thread."""
        return self._ids.get(self._of.get(run, 0), NO_THREAD)
