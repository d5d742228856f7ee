"""A number of slots that several users share in fair turns, however often each one asks.

A first-in-first-out limiter gives a user with twenty connections twenty turns of each round. Here a
slot that becomes free goes to the waiting key that holds the fewest slots, of equal ones to the key
that has waited longest for its turn. One key alone gets all slots up to `share`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable

import trio

__all__ = ("FairGate", "GateKey")


class FairGate:
    """`slots` slots, of which one key has at most `share` (default: all).

    `count_wait` is called for each call of `acquire` that has to wait.
    """

    def __init__(
        self,
        slots: int,
        share: int | None = None,
        *,
        count_wait: Callable[[], None] = lambda: None,
    ) -> None:
        self._free = slots
        self._share = slots if share is None else share
        self._held: dict[Hashable, int] = {}
        self._waiting: dict[Hashable, deque[trio.lowlevel.Task]] = {}
        self._turns: list[dict[Hashable, None]] = [{} for _ in range(self._share)]
        """By the number of slots that they hold: the waiting keys in the order of their turns."""
        self._count_wait = count_wait

    async def acquire(self, key: Hashable) -> None:
        """Take a slot, which the caller gives back with `release`. A cancelled call holds none."""
        await trio.lowlevel.checkpoint_if_cancelled()
        held = self._held.get(key, 0)
        # While a slot is free, every waiting key has its share.
        if self._free and held < self._share:
            self._take(key)
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        self._count_wait()
        task = trio.lowlevel.current_task()
        if key not in self._waiting:
            self._waiting[key] = deque()
            self._join_turns(key)
        self._waiting[key].append(task)

        def leave(_: object) -> trio.lowlevel.Abort:
            # Runs only before `release` has taken this task, so no slot is lost
            # (test_a_cancelled_waiter_loses_no_slot).
            self._waiting[key].remove(task)
            if not self._waiting[key]:
                del self._waiting[key]
                self._leave_turns(key)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(leave)

    def release(self, key: Hashable) -> None:
        """Give a slot of `key` back. The next in turn gets it at once."""
        if key in self._waiting:
            self._leave_turns(key)
        self._held[key] -= 1
        if not self._held[key]:
            del self._held[key]
        if key in self._waiting:
            self._join_turns(key)
        self._free += 1
        turns = next((keys for keys in self._turns if keys), None)
        if turns is None:
            return
        following = next(iter(turns))
        self._leave_turns(following)
        self._take(following)
        trio.lowlevel.reschedule(self._waiting[following].popleft())
        if self._waiting[following]:
            self._join_turns(following)
        else:
            del self._waiting[following]

    def for_key(self, key: Hashable) -> GateKey:
        """Return what holds slots of one key."""
        return GateKey(self, key)

    def _take(self, key: Hashable) -> None:
        self._free -= 1
        self._held[key] = self._held.get(key, 0) + 1

    def _join_turns(self, key: Hashable) -> None:
        held = self._held.get(key, 0)
        if held < self._share:
            self._turns[held][key] = None

    def _leave_turns(self, key: Hashable) -> None:
        for keys in self._turns[self._held.get(key, 0) :][:1]:
            keys.pop(key, None)


class GateKey:
    """Slots of one key of a `FairGate`: a context manager, which many tasks may enter at once."""

    def __init__(self, gate: FairGate, key: Hashable) -> None:
        self._gate = gate
        self._key = key

    async def acquire(self) -> None:
        """Take a slot, which the caller gives back with `release`. A cancelled call holds none."""
        await self._gate.acquire(self._key)

    def release(self) -> None:
        """Give a slot back."""
        self._gate.release(self._key)

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *_: object) -> None:
        self.release()
