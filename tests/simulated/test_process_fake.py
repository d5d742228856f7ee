"""`FakeChild`: the contract of `ProcessTree`, and what the fake adds for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import support.process_contract
import trio
from support.process_contract import (
    CHECKS,
    KILL,
    NO_PERSISTENCE,
    TERM,
    Shape,
    StartedTree,
    TreeStarter,
)
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_afrender.errors import SpawnError
from trio_afrender.process.interfaces import Launch
from trio_afrender.tasklog.memory_log import MemoryLog
from trio_afrender.testing.fake_process import FakeChild, FakeSpawn

LAUNCH = Launch(
    argv=("render",), cwd="/", environment={"AF_TASK_TOKEN": "t"}, persistence=NO_PERSISTENCE
)


class FakeTrees:
    def __init__(self) -> None:
        self.spawn = FakeSpawn()

    @asynccontextmanager
    async def start(self, shape: Shape) -> AsyncIterator[StartedTree]:
        child = await self.spawn(LAUNCH)
        if shape == "ignores":
            child.dies_of = {KILL}
        if shape == "forks":
            await child.write(b"member %d\n" % child.fork({TERM, KILL}))
        if shape == "leaves":
            await child.write(b"member %d\n" % child.fork({KILL}))
        await child.write(b"hello\n" if shape == "exits" else b"up\n")
        if shape in {"exits", "leaves"}:
            child.exit(3)
        until = b"hello\n" if shape == "exits" else b"up\n"
        async with support.process_contract.watch(child, MemoryLog(), until=until) as started:
            yield started


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_contract(
    check: Callable[[TreeStarter], Awaitable[None]], autojump_clock: MockClock
) -> None:
    await check(FakeTrees())


async def start(spawn: FakeSpawn | None = None) -> FakeChild:
    return await (spawn or FakeSpawn())(LAUNCH)


async def test_signals_are_recorded_with_their_virtual_times(autojump_clock: MockClock) -> None:
    child = await start(FakeSpawn(dies_of={KILL}))
    await trio.sleep(3)
    await child.signal_tree(TERM)
    await trio.sleep(5)
    assert await child.kill_until_empty(1) == ()
    assert child.signals == [(3.0, "TERM"), (8.0, "KILL")]


async def test_a_signal_to_an_empty_tree_is_not_recorded(autojump_clock: MockClock) -> None:
    child = await start()
    child.exit(0)
    assert await child.signal_tree(KILL) == ()
    assert await child.kill_until_empty(1) == ()
    assert child.signals == []


async def test_leftovers_are_waited_for_until_the_deadline(autojump_clock: MockClock) -> None:
    child = await start()
    child.leftovers = (child.pid, 77)
    assert await child.kill_until_empty(30) == (77, child.pid)
    assert trio.current_time() == 30
    with trio.move_on_after(1) as waiting:
        await child.reap()
    assert waiting.cancelled_caught, "the leader still runs"


async def test_a_member_that_ends_within_the_deadline_is_no_leftover(
    autojump_clock: MockClock,
) -> None:
    child = await start()
    member = child.fork(())
    async with trio.open_nursery() as nursery:

        async def die() -> None:
            await trio.sleep(2)
            child.end(member)

        nursery.start_soon(die)
        assert await child.kill_until_empty(30) == ()
    assert trio.current_time() == 2


async def test_output_that_a_member_holds_ends_with_the_member(autojump_clock: MockClock) -> None:
    child = await start()
    holder = child.hold_output()
    child.exit(0)
    ended = trio.Event()
    async with trio.open_nursery() as nursery:

        async def pump() -> None:
            await child.output.pump(MemoryLog())
            ended.set()

        nursery.start_soon(pump)
        await wait_all_tasks_blocked()
        assert not ended.is_set()
        assert await child.signal_tree(KILL) == (holder,)
        await ended.wait()


async def test_the_first_end_counts(autojump_clock: MockClock) -> None:
    child = await start()
    child.exit(4)
    child.exit(signal=9)
    status = await child.reap()
    assert (status.code, status.signal, status.raw) == (4, None, 1024)
    assert child.reaped


async def test_output_may_end_before_the_leader(autojump_clock: MockClock) -> None:
    child, log = await start(), MemoryLog()
    await child.write(b"last text.")
    child.close_output()
    await child.output.pump(log)
    assert log.size == 10
    with trio.move_on_after(1) as waiting:
        await child.exited()
    assert waiting.cancelled_caught


async def test_a_cancelled_pump_loses_nothing(autojump_clock: MockClock) -> None:
    child, log = await start(), MemoryLog()
    for number in range(20):
        await child.write(b"%d " % number)
        with trio.CancelScope() as scope:
            scope.cancel()
            await child.output.pump(log)
    child.exit(0)
    await child.output.pump(log)
    assert log.reader().read(0, 999).data == b"".join(b"%d " % number for number in range(20))


async def test_a_test_can_wait_for_a_signal(autojump_clock: MockClock) -> None:
    child = await start(FakeSpawn(dies_of={KILL}))
    async with trio.open_nursery() as nursery:

        async def save_first() -> None:
            await child.signalled(TERM)
            await trio.sleep(3)
            child.exit(0)

        nursery.start_soon(save_first)
        await wait_all_tasks_blocked()
        await child.signal_tree(TERM)
        await child.wait_empty()
    assert trio.current_time() == 3


async def test_next_returns_each_child_once_in_order(autojump_clock: MockClock) -> None:
    spawn = FakeSpawn()
    first, second = await start(spawn), await start(spawn)
    assert [await spawn.next(), await spawn.next()] == [first, second] == spawn.children
    assert first.pid != second.pid
    with trio.move_on_after(1) as waiting:
        await spawn.next()
    assert waiting.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(start, spawn)
        third = await spawn.next()
    assert third is spawn.children[2]


async def test_a_spawn_fails_with_the_text_that_was_set(autojump_clock: MockClock) -> None:
    spawn = FakeSpawn()
    spawn.fail("no shell here")
    with pytest.raises(SpawnError, match="no shell here"):
        await spawn(LAUNCH)
    spawn.fail("")
    await spawn(LAUNCH)
    assert spawn.launches == [LAUNCH, LAUNCH]
