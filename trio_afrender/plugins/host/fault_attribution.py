"""Decides whose plugin it was when the plugin host hangs or dies. Plain rules over figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

__all__ = (
    "SLOW_CALL_FACTOR",
    "CallView",
    "FaultRecord",
    "attribute_crash",
    "clear",
    "find_cpu_hog",
    "find_unresponsive",
    "mark_guilty",
    "restart_delay",
)

GIL_HOLD_LIMIT = 2.0
"""Seconds a plugin may hold the interpreter lock, whatever the time limit of a call."""
SLOW_CALL_FACTOR = 3
"""So many time limits for what cannot help being slow."""
BUSY_SHARE = 0.8
"""Of the processor time all calls have used, what one must have to be the only one that runs."""
SUSPECT_AFTER_CRASHES = 2
"""So many deaths of the host with a run's call under way, and its calls are made alone."""
FREE_RESTARTS = 3
RESTART_WINDOW = 60.0
MAX_DELAY = 5.0


@attrs.frozen
class CallView:
    """A call that is under way: of which run, for how long, and what its thread has used."""

    run: int
    age: float
    cpu: float
    """Seconds of processor time since the last sign of life was asked for."""
    starved: bool = False
    """Whether its thread could run but is not let: by a busy machine, a slow disk, a full memory."""


def find_unresponsive(calls: Sequence[CallView], *, silent: float, limit: float) -> int | None:
    """The run whose call hangs, None when none does or it is too early to say.

    `silent` is how long the host has not answered a sign of life, 0 when it has. Silence means
    that no thread but one can run: who burns the processor holds the interpreter lock, however
    young its call is. A call that waits for that lock is not to blame for being late. On a host
    that answers, the late call itself is to blame; one that is starved gets `PATIENCE` times as
    long.
    """
    if not calls:
        return None
    if silent > 0:
        stall = min(limit, GIL_HOLD_LIMIT)
        # By processor time, not by the clock: on a busy machine all of us get less of it.
        return find_cpu_hog(calls, stall / 2) if silent >= stall else None
    late = [call for call in calls if call.age >= limit * (SLOW_CALL_FACTOR if call.starved else 1)]
    return max(late, key=lambda call: (call.cpu, call.age)).run if late else None


def find_cpu_hog(calls: Sequence[CallView], least: float) -> int | None:
    """The run that alone uses the processor, at least so many seconds of it; None when none does."""
    busiest = max(calls, key=lambda call: call.cpu, default=None)
    total = sum(call.cpu for call in calls)
    if busiest is None or busiest.cpu < least or busiest.cpu < BUSY_SHARE * total:
        return None
    return busiest.run


@attrs.define
class FaultRecord:
    """What deaths of the host say about one run."""

    owner: object = None
    """Whose code it runs: several runs may have the same."""
    strikes: int = 0
    """Deaths while a call of it was under way, and that nobody else was convicted of."""
    alone: bool = False
    """Its calls are made while no other is under way: the next death would be its own."""
    co_running: list[frozenset[object]] = attrs.field(factory=list)
    """Of each of these deaths the owners of all who were suspected."""


def attribute_crash(active: Sequence[FaultRecord]) -> FaultRecord | None:
    """The host died while calls of these runs were under way: the guilty one, if that is sure.

    It is when a single call was under way and that run was suspected before: once may be chance
    or somebody's kill. Else all of them become suspects.
    """
    if len(active) == 1 and active[0].alone:
        return active[0]
    owners = frozenset(suspicion.owner for suspicion in active)
    for suspicion in active:
        suspicion.strikes += 1
        suspicion.alone = True
        suspicion.co_running.append(owners)
    return None


def mark_guilty(owner: object, others: Iterable[FaultRecord]) -> None:
    """Whose code it was is sure: the others are no longer suspected of deaths in which it had a part.

    Else whoever was there when a host died would share a ward with the next run of that code, and
    wait each time that it ends it.
    """
    for suspicion in others:
        if suspicion.owner != owner:
            left = [owners for owners in suspicion.co_running if owner not in owners]
            suspicion.strikes -= len(suspicion.co_running) - len(left)
            suspicion.co_running = left
            suspicion.alone = suspicion.alone and suspicion.strikes > 0


def clear(suspicion: FaultRecord) -> None:
    """A suspect's call has gone well. After several strikes it stays under watch all the same."""
    suspicion.alone = suspicion.strikes >= SUSPECT_AFTER_CRASHES


def restart_delay(ends: Sequence[float], now: float) -> float:
    """Seconds to wait before a restart, given the times at which hosts ended: few are free."""
    recent = sum(1 for end in ends if now - end <= RESTART_WINDOW)
    if recent <= FREE_RESTARTS:
        return 0.0
    return min(MAX_DELAY, 0.25 * 2.0 ** (recent - FREE_RESTARTS - 1))
