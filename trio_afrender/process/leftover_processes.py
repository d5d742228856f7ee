"""Processes of tasks whose agent is dead: found by their token, ended before anything new starts.

The token of a run begins with the identity of its agent's store, so an agent knows its own former
self's processes, and nobody else's, whatever they have become since. All environments of the host
are read for it: once, at the start.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection

import trio

from trio_afrender.process.exit_watch import wait_gone
from trio_afrender.process.procfs import (
    ProcessFacts,
    read_facts,
    read_token,
    scan,
    send_signal,
)
from trio_afrender.process.tree_members import find_members

__all__ = ("kill_leftovers",)


async def kill_leftovers(
    prefix: str, grace: float, deadline: float, *, spared: Collection[int] = ()
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """TERM who has a token that begins with `prefix`, KILL after `grace` seconds whoever is left.

    Whoever lives below one of the `spared` processes is left alone. Returns the pids that were found, and those that are still there after `deadline` more seconds.
    """
    found = await trio.to_thread.run_sync(_find, prefix, spared)
    met = {facts.pid for facts in found}
    if found:
        _send(found, signal.SIGTERM)
        _send(found, signal.SIGCONT)
        await _wait_gone(found, grace)
    until = trio.current_time() + deadline
    left = await trio.to_thread.run_sync(_find, prefix, spared)
    while left and trio.current_time() < until:
        met |= {facts.pid for facts in left}
        _send(left, signal.SIGKILL)
        await _wait_gone(left, 1.0)
        left = await trio.to_thread.run_sync(_find, prefix, spared)
    return tuple(sorted(met)), tuple(sorted(facts.pid for facts in left))


def _find(prefix: str, spared: Collection[int]) -> tuple[ProcessFacts, ...]:
    table = scan()
    passed = {os.getpid()} | {
        facts.pid for facts in find_members(table, spared, (), outside=os.getpid())
    }
    return tuple(
        facts
        for facts in table.values()
        if facts.alive and facts.pid not in passed and (_token(facts.pid) or "").startswith(prefix)
    )


def _token(pid: int) -> str | None:
    """As `read_token`, but patient with one that is just executing a program."""
    for _ in range(5):
        token = read_token(pid)
        if token is not None or read_facts(pid) is None:
            return token
        time.sleep(0.002)
    return None


def _send(strays: tuple[ProcessFacts, ...], number: signal.Signals) -> None:
    for facts in strays:
        send_signal(facts, number)


async def _wait_gone(strays: tuple[ProcessFacts, ...], seconds: float) -> None:
    with trio.move_on_after(seconds):
        for facts in strays:
            await wait_gone(facts)
