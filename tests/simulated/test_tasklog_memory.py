"""Waiting on a log: each waiting task wakes, and several steps of growth may be one wake-up."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trio_afrender.tasklog.head_tail import read_window
from trio_afrender.tasklog.memory_log import MemoryLog


async def test_waiters_wake_once_for_many_appends(autojump_clock: trio.testing.MockClock) -> None:
    log = MemoryLog()
    seen: list[int] = []

    async def follow() -> None:
        size = 0
        while not log.ended:
            size = await log.wait_beyond(size)
            seen.append(size)
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        nursery.start_soon(follow)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(10):
            await log.append(b"x" * 10)
        await trio.sleep(5)
        log.end()
    assert len(seen) <= 6
    assert seen[-2:] == [100, 100]
    assert await log.wait_beyond(0) == 100
    assert await log.wait_beyond(100) == 100


async def test_waiting_ends_with_the_log(autojump_clock: trio.testing.MockClock) -> None:
    log = MemoryLog()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.wait_beyond, 0)
        nursery.start_soon(log.wait_beyond, 5)
        await trio.testing.wait_all_tasks_blocked()
        log.end()
        log.end()
    with pytest.raises(trio.ClosedResourceError):
        await log.append(b"late")
    assert (log.size, log.ended, log.lost, log.folder) == (0, True, 0, None)


async def test_a_window_of_memory_needs_no_thread(autojump_clock: trio.testing.MockClock) -> None:
    log = MemoryLog()
    await log.append(b"one\ntwo\n")
    with trio.fail_after(1):
        assert (await read_window(log, 100)).text == "one\ntwo\n"
    assert trio.current_time() == pytest.approx(0, abs=0.01)
