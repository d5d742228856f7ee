"""Events that repeat, the first of several waits, nurseries whose exceptions come in no group."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_afrender.async_helpers import RepeatedEvent, flatten, open_bare_nursery, wait_any


async def test_each_set_wakes_all_waiting_tasks_and_no_later_ones() -> None:
    event, woken = RepeatedEvent(), list[str]()

    async def wait(name: str) -> None:
        await event.wait()
        woken.append(name)

    event.set()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, "a")
        nursery.start_soon(wait, "b")
        await wait_all_tasks_blocked()
        assert woken == []
        event.set()
        await wait_all_tasks_blocked()
        assert sorted(woken) == ["a", "b"]
        nursery.start_soon(wait, "c")
        await wait_all_tasks_blocked()
        assert len(woken) == 2
        event.set()


async def test_the_first_of_several_waits_ends_all(autojump_clock: trio.testing.MockClock) -> None:
    late = []

    async def sleep_long() -> None:
        try:
            await trio.sleep(10)
        finally:
            late.append(trio.current_time())

    begun = trio.current_time()
    await wait_any(sleep_long, partial(trio.sleep, 2), trio.sleep_forever)
    assert trio.current_time() - begun == 2
    assert late == [begun + 2]


async def run_body(
    helper: Callable[[], Awaitable[None]], body: Callable[[], Awaitable[None]]
) -> None:
    async with open_bare_nursery() as nursery:
        nursery.start_soon(helper)
        await body()


async def fail() -> None:
    await trio.lowlevel.checkpoint()
    raise ValueError("wrong")


async def fail_when_cancelled() -> None:
    with pytest.raises(trio.Cancelled):
        await trio.sleep_forever()
    raise KeyError("late")


async def test_an_exception_of_the_body_comes_in_no_group() -> None:
    with pytest.raises(ValueError, match="wrong") as caught:
        await run_body(trio.sleep_forever, fail)
    assert caught.value.__context__ is None


async def test_an_exception_of_a_helper_task_comes_in_no_group() -> None:
    with pytest.raises(ValueError, match="wrong"):
        await run_body(fail, trio.sleep_forever)


async def test_several_exceptions_stay_a_group() -> None:
    with pytest.RaisesGroup(ValueError, KeyError):
        await run_body(fail_when_cancelled, fail)


async def test_helper_tasks_end_with_the_body_and_cancellation_passes() -> None:
    async with open_bare_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
    with trio.CancelScope() as scope:
        scope.cancel()
        async with open_bare_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            await trio.sleep_forever()
    assert scope.cancelled_caught


def test_groups_in_groups_are_flattened() -> None:
    one, two = ValueError("1"), KeyError("2")
    assert flatten(ExceptionGroup("", [one, ExceptionGroup("", [two])])) == [one, two]
