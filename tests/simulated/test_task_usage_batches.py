"""Readings that are joined: which runs share one, and what they get if it fails."""

from __future__ import annotations

from collections.abc import Collection

import attrs
import trio
from trio.testing import MockClock

from trio_afrender.hostinfo.process_usage import ProcessUsage
from trio_afrender.task.usage_batches import MAX_PIDS, UsageBatches

HANGING = 13


@attrs.define
class Reader:
    """Finds each process, after a second; a reading with `HANGING` takes too long."""

    calls: list[set[int]] = attrs.field(factory=list)

    async def read(self, pids: Collection[int]) -> tuple[ProcessUsage, ...]:
        self.calls.append(set(pids))
        await trio.sleep(1)
        if HANGING in pids:
            return ()
        return tuple(ProcessUsage(pid=pid, started=1.0, parent=1) for pid in sorted(pids))


async def read_all(batches: UsageBatches, *runs: set[int]) -> list[list[int]]:
    """Read for all runs at once; return the pids that each has got."""
    found: list[list[int]] = [[] for _ in runs]

    async def read(number: int, pids: set[int]) -> None:
        found[number] = sorted(usage.pid for usage in await batches.read(pids))

    async with trio.open_nursery() as nursery:
        for number, pids in enumerate(runs):
            nursery.start_soon(read, number, pids)
    return found


async def test_runs_that_measure_together_share_a_reading(autojump_clock: MockClock) -> None:
    reader = Reader()
    batches = UsageBatches(reader.read)
    assert await read_all(batches, {1, 2}, {3}, {2, 4}) == [[1, 2], [3], [2, 4]]
    assert reader.calls == [{1, 2, 3, 4}]
    assert await read_all(batches, {5}) == [[5]]
    assert reader.calls[1:] == [{5}]


async def test_a_run_that_comes_later_gets_a_reading_of_its_own(autojump_clock: MockClock) -> None:
    reader = Reader()
    batches = UsageBatches(reader.read)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(batches.read, {1})
        await trio.sleep(0.5)
        (usage,) = await batches.read({2})
        assert (usage.pid, trio.current_time()) == (2, 1.5)
    assert reader.calls == [{1}, {2}]


async def test_a_reading_is_of_a_limited_number_of_processes(autojump_clock: MockClock) -> None:
    reader = Reader()
    runs = [set(range(start, start + MAX_PIDS // 2)) for start in range(100, 600, MAX_PIDS // 2)]
    assert await read_all(UsageBatches(reader.read), *runs) == [sorted(pids) for pids in runs]
    assert sorted(map(len, reader.calls)) == [100, 200, 200]


async def test_a_process_that_hangs_costs_no_other_run_its_figures(
    autojump_clock: MockClock,
) -> None:
    reader = Reader()
    assert await read_all(UsageBatches(reader.read), {1}, {HANGING}, {3}) == [[1], [], [3]]
    assert trio.current_time() == 2


async def test_a_cancelled_run_costs_no_other_run_its_figures(autojump_clock: MockClock) -> None:
    for cancelled in range(3):  # one of them makes the call for all
        reader, scopes = Reader(), [trio.CancelScope() for _ in range(3)]
        batches, found = UsageBatches(reader.read), dict[int, int]()

        async def read(pid: int, batches: UsageBatches, scope: trio.CancelScope) -> None:
            with scope:
                (usage,) = await batches.read({pid})
                found[pid] = usage.pid  # noqa: B023 - all have ended before the next round

        async with trio.open_nursery() as nursery:
            for pid, scope in enumerate(scopes):
                nursery.start_soon(read, pid, batches, scope)
            await trio.sleep(0.5)
            scopes[cancelled].cancel()
        assert found == {pid: pid for pid in range(3) if pid != cancelled}


async def test_runs_that_wait_for_the_same_moment_wake_up_then(autojump_clock: MockClock) -> None:
    """Also when runs end that have the timer for all, one of them while another hands it over."""

    async def no_reading(_pids: Collection[int]) -> tuple[ProcessUsage, ...]:
        raise AssertionError

    batches, woken = UsageBatches(no_reading), dict[int, float]()
    scopes = [trio.CancelScope() for _ in range(8)]

    async def wait(number: int, moment: float) -> None:
        with scopes[number]:
            await batches.sleep_until(moment)
            woken[number] = trio.current_time()

    async with trio.open_nursery() as nursery:
        for number in range(7):
            nursery.start_soon(wait, number, 10.0)
        nursery.start_soon(wait, 7, 5.0)
        for ended in ((0,), (1, 2), (6,)):
            await trio.sleep(2)
            for number in ended:
                scopes[number].cancel()
    assert woken == {3: 10, 4: 10, 5: 10, 7: 5}
    with trio.move_on_after(1):
        await batches.sleep_until(20.0)
    begin = trio.current_time()
    await batches.sleep_until(begin)
    await batches.sleep_until(begin + 1)
    assert trio.current_time() == begin + 1
