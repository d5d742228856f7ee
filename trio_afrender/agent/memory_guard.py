"""Keeps memory free on the host: looks how much there is while tasks run, and stops one in time.

A host that runs out of memory loses more than a task: the kernel kills whom it finds largest, with
no word to anybody. What is decided, and by which rule, is in `agent.pressure`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

import trio

from trio_afrender.agent.memory_policy import Decision, MemoryPolicy, Tree, next_look
from trio_afrender.config import MemoryGuard
from trio_afrender.hostinfo.memory import ReadHeadroom
from trio_afrender.task.status_rules import StopCause, StopKind
from trio_afrender.task.task_control import TaskControl
from trio_afrender.task.tools import ProcessUsageReader

__all__ = ("guard_memory",)

logger = logging.getLogger(__name__)

SAMPLE_TIMEOUT = 60.0
"""Seconds that a look may take: the figures of many trees, on a host that swaps."""
IDLE_INTERVAL = 5.0
"""Seconds between two looks whether there is anything to guard."""


async def guard_memory(
    rules: MemoryGuard,
    read_headroom: ReadHeadroom,
    usage_reader: ProcessUsageReader,
    running: Callable[[], Collection[TaskControl]],
    pause: Callable[[str], None],
    promise: Callable[[float], None],
) -> None:
    """Guard until cancelled. `pause` is told why no new task is to be taken, '' that they are;
    `promise` in how many seconds there will be another look at the latest.
    """
    if not rules.floor:
        return
    pressure, taken = MemoryPolicy(rules), dict[str, float]()
    paused = ""
    while True:
        promise(SAMPLE_TIMEOUT)
        room, handles = read_headroom(), tuple(running())
        now = trio.current_time()
        taken = {handle.task.run: taken.get(handle.task.run, now) for handle in handles}
        close = room.available < 2 * rules.room
        trees = [
            Tree(
                run=handle.task.run,
                age=now - taken[handle.task.run],
                resident=await _measure(handle, usage_reader) if close else _known(handle),
                ending=handle.cause is not None,
            )
            for handle in handles
        ]
        order = pressure.look(room, trees)
        if bool(order.pause) != bool(paused):
            logger.warning("%s", order.pause or "there is memory again: tasks are taken")
            pause(order.pause)
        paused = order.pause
        _carry_out(order, handles)
        wait = next_look(rules, room) if handles or paused else IDLE_INTERVAL
        # With time to spare it goes with those who wake the agent anyway.
        await trio.sleep(IDLE_INTERVAL - now % IDLE_INTERVAL if wait >= IDLE_INTERVAL else wait)


def _carry_out(order: Decision, handles: Collection[TaskControl]) -> None:
    for handle in handles:
        if handle.task.run == order.victim:
            logger.warning("task %s: %s: it is given back", handle.task.key, order.reason)
            handle.stop(StopCause(kind=StopKind.MEMORY, text=order.reason))
        elif order.stop_now and handle.cause is not None:
            handle.stop(handle.cause, grace=0.0)


def _known(handle: TaskControl) -> int:
    return handle.usage.resident if handle.usage is not None else 0


async def _measure(handle: TaskControl, usage_reader: ProcessUsageReader) -> int:
    """The memory of a tree now, as far as its processes are known; its own figures may be old."""
    pids = {pid for pid, _ in handle.members} | ({handle.pid} if handle.pid is not None else set())
    found = await usage_reader.read(pids)
    return sum(usage.resident for usage in found) if found else _known(handle)
