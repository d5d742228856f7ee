"""Fair turns of keys at a number of slots, in virtual time."""

from __future__ import annotations

from collections import Counter

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_afrender.transport.fair_gate import FairGate


async def use(gate: FairGate, key: str, log: list[str], seconds: float = 1.0) -> None:
    async with gate.for_key(key):
        log.append(key)
        await trio.sleep(seconds)


async def test_one_key_alone_gets_every_slot(autojump_clock: MockClock) -> None:
    gate, log = FairGate(8), list[str]()
    async with trio.open_nursery() as nursery:
        for _ in range(80):
            nursery.start_soon(use, gate, "a", log)
    assert trio.current_time() == 10


async def test_a_key_with_many_waiters_delays_no_other(autojump_clock: MockClock) -> None:
    gate, log = FairGate(4), list[str]()
    async with trio.open_nursery() as nursery:
        for _ in range(400):
            nursery.start_soon(use, gate, "crowd", log)
        await wait_all_tasks_blocked()
        for _ in range(3):
            before = trio.current_time()
            await use(gate, "single", log, 0)
            assert trio.current_time() - before <= 1.0
        nursery.cancel_scope.cancel()


async def test_keys_that_wait_take_turns(autojump_clock: MockClock) -> None:
    gate, log = FairGate(2), list[str]()
    async with trio.open_nursery() as nursery:
        for key in "aaaaaaabbbbbbbcc":
            nursery.start_soon(use, gate, key, log)
            await wait_all_tasks_blocked()
    # The first two did not have to wait. Then each key has its turn, in any order of the slots that
    # become free in one moment: "c" does not wait for seven of "a" and "b".
    assert (log[:2], set(log[2:4])) == (["a", "a"], {"b", "c"})
    assert Counter(log[2:8])["c"] == 2
    assert Counter(log) == {"a": 7, "b": 7, "c": 2}


async def test_one_key_gets_no_more_than_its_share(autojump_clock: MockClock) -> None:
    waits = list[str]()
    gate, log = FairGate(4, 2, count_wait=lambda: waits.append("wait")), list[str]()
    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(use, gate, "a", log)
        await wait_all_tasks_blocked()
        assert (log, len(waits)) == (["a", "a"], 4)
        await use(gate, "b", log, 0)
        assert trio.current_time() == 0
    assert trio.current_time() == 3


async def test_a_cancelled_waiter_loses_no_slot(autojump_clock: MockClock) -> None:
    """Cancelled while it waits, and cancelled when it has just been given the slot."""
    gate, log = FairGate(1), list[str]()
    await gate.acquire("a")
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as waiting:
            nursery.start_soon(use, gate, "b", log)
            await wait_all_tasks_blocked()
            waiting.cancel()
            await gate.acquire("c")
        assert waiting.cancelled_caught
        nursery.cancel_scope.cancel()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(use, gate, "d", log)
            await wait_all_tasks_blocked()
            gate.release("a")
            scope.cancel()
    assert log == ["d"]
    with trio.fail_after(2):
        await use(gate, "e", log)
    assert (gate._free, gate._held, gate._waiting) == (1, {}, {})


@given(
    st.integers(1, 4),
    st.integers(1, 4),
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.integers(0, 3), st.integers(0, 3), st.integers(0, 9)),
        max_size=40,
    ),
)
def test_slots_are_neither_lost_nor_exceeded(
    slots: int, share: int, uses: list[tuple[str, int, int, int]]
) -> None:
    """Any order of starts, cancellations and ends: (key, start, seconds, seconds until cancelled)."""
    holding: Counter[str] = Counter()

    async def one(gate: FairGate, key: str, start: int, seconds: int, cancelled_after: int) -> None:
        await trio.sleep(start)
        with trio.move_on_after(cancelled_after):
            async with gate.for_key(key):
                holding[key] += 1
                try:
                    assert holding.total() <= slots
                    assert holding[key] <= share
                    await trio.sleep(seconds)
                finally:
                    holding[key] -= 1

    async def scenario() -> None:
        gate = FairGate(slots, share)
        async with trio.open_nursery() as nursery:
            for each in uses:
                nursery.start_soon(one, gate, *each)
        assert (gate._free, gate._held, gate._waiting) == (slots, {}, {})
        assert not any(gate._turns)

    trio.run(scenario, clock=MockClock(autojump_threshold=0))


async def test_a_free_slot_is_never_left_while_a_key_could_have_it(
    autojump_clock: MockClock,
) -> None:
    gate, log = FairGate(3, 2), list[str]()
    async with trio.open_nursery() as nursery:
        for key in "aaaabb":
            nursery.start_soon(use, gate, key, log)
            await wait_all_tasks_blocked()
    assert log[:3] == ["a", "a", "b"]
    assert trio.current_time() == 2
