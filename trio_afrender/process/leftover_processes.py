"""Find and kill processes of earlier runs by the token in their environment.

The token of a run begins with the random identity of its agent's store. So an agent recognizes the
processes of an agent before it in the same store, in whatever session or below whatever parent they
are now, and no others. For this every environment on the host is read: once, at the agent's start,
and after a task supervisor was killed.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import time
from collections import defaultdict
from collections.abc import Collection, Mapping
from functools import partial

import trio

from trio_afrender.process.procfs import (
    PIDFD,
    ProcessFacts,
    is_alive,
    open_pidfd,
    read_token,
    scan,
    send_signal,
)
from trio_afrender.tasklog.io_threads import PAUSES, call_in_thread, retry_exhausted

__all__ = ("kill_leftovers", "wait_gone")

logger: logging.Logger = logging.getLogger(__name__)

POLL_INTERVAL = 0.05
"""Seconds between two checks of a process, where no pidfd exists."""


async def kill_leftovers(
    prefix: str, grace: float, deadline: float, *, spared: Collection[int] = ()
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Send TERM to the processes whose token begins with `prefix`, and KILL after `grace` seconds.

    Processes below one of the `spared` pids are left alone. Returns the pids that were found, and
    those that are left after `deadline` more seconds.
    """
    found = await _look(prefix, spared)
    met = {facts.pid for facts in found}
    if found:
        _send(found, signal.SIGTERM)
        _send(found, signal.SIGCONT)  # a stopped process does not handle TERM
        await _wait_gone(found, grace)
    until = trio.current_time() + deadline
    # Read again in each round: a process that was found may have forked before the signal came.
    left = await _look(prefix, spared)
    while left and trio.current_time() < until:
        met |= {facts.pid for facts in left}
        _send(left, signal.SIGKILL)
        await _wait_gone(left, 1.0)
        left = await _look(prefix, spared)
    return tuple(sorted(met)), tuple(sorted(facts.pid for facts in left))


async def _look(prefix: str, spared: Collection[int]) -> tuple[ProcessFacts, ...]:
    # Again after any error: the caller takes what is not found for ended.
    for pause in PAUSES:
        try:
            return await call_in_thread(partial(_find, prefix, spared))
        except OSError as error:
            logger.warning("cannot look for processes now: %s", error)
            await trio.sleep(pause)
    return await call_in_thread(partial(_find, prefix, spared))


async def wait_gone(pids: Collection[int]) -> None:
    """Wait until processes, found a moment ago, have ended."""
    table = await retry_exhausted(partial(call_in_thread, scan))
    await _wait_gone(tuple(table[pid] for pid in pids if pid in table), math.inf)


def _find(prefix: str, spared: Collection[int]) -> tuple[ProcessFacts, ...]:
    table = scan()
    passed = {os.getpid(), *_find_below(table, spared)}
    unread = [facts for facts in table.values() if facts.alive and facts.pid not in passed]
    found: list[ProcessFacts] = []
    # In the middle of an exec the kernel shows no environment, for some microseconds. A process must
    # not escape because it was read just then. Kernel threads never show one: all that showed none
    # are read again together, else each kernel thread would cost all the pauses.
    for _ in range(5):
        tokens = [(facts, read_token(facts.pid)) for facts in unread]
        found += [facts for facts, token in tokens if token and token.startswith(prefix)]
        unread = [facts for facts, token in tokens if token is None]
        if not unread:
            break
        time.sleep(0.002)
    return tuple(found)


def _find_below(table: Mapping[int, ProcessFacts], roots: Collection[int]) -> set[int]:
    """Return the pids of `roots` and of all their descendants in `table`."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for facts in table.values():
        children[facts.parent].append(facts.pid)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        # A table that is read while processes change may contain a cycle: a pid is used again.
        if pid not in found:
            found.add(pid)
            waiting += children[pid]
    return found


def _send(leftovers: tuple[ProcessFacts, ...], number: signal.Signals) -> None:
    for facts in leftovers:
        try:
            send_signal(facts, number)
        except OSError as error:  # no descriptor is left: the next round signals it
            logger.warning("cannot signal pid %s now: %s", facts.pid, error)


async def _wait_gone(leftovers: tuple[ProcessFacts, ...], seconds: float) -> None:
    """Wait until all of them have ended, at most `seconds`. They are not children of this process."""
    with trio.move_on_after(seconds):
        for facts in leftovers:
            alive = True
            while alive:
                try:
                    alive = is_alive(facts)
                    descriptor = open_pidfd(facts) if PIDFD and alive else None
                except OSError:  # no descriptor is left to look with
                    descriptor = None
                if descriptor is not None:
                    try:
                        await trio.lowlevel.wait_readable(descriptor)
                    finally:
                        trio.lowlevel.notify_closing(descriptor)
                        os.close(descriptor)
                elif alive:
                    await trio.sleep(POLL_INTERVAL)
