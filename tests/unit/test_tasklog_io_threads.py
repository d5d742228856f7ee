"""Threads and descriptors that the agent holds back, and what it does without any."""

from __future__ import annotations

import errno
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
from support.process import open_descriptors

from trio_afrender.errors import PluginError, SpawnError, StoreError, is_exhausted
from trio_afrender.tasklog import io_threads
from trio_afrender.tasklog.io_threads import (
    call_in_thread,
    hold_descriptors,
    open_reserve,
    retry_exhausted,
    wait_out,
    work_in_thread,
)


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


FULL, MISSING = OSError(errno.ENOSPC, "full"), OSError(errno.ENOENT, "missing")


@pytest.mark.parametrize(
    ("error", "exhausted"),
    [
        *((OSError(number, ""), True) for number in (errno.EAGAIN, errno.EMFILE, errno.ENFILE)),
        *((OSError(number, ""), True) for number in (errno.ENOMEM, errno.ENOSPC)),
        *((OSError(number, ""), False) for number in (errno.ENOENT, errno.EACCES, errno.EIO)),
        (RuntimeError("can't start new thread"), True),
        (RuntimeError("another"), False),
        (MemoryError(), True),
        (ValueError(), False),
        (caused(SpawnError("x"), FULL), True),
        (caused(SpawnError("x"), MISSING), False),
        (caused(StoreError(Path("x"), "x"), FULL), True),
        (caused(PluginError("x"), caused(SpawnError("x"), FULL)), True),
        (ExceptionGroup("", [FULL, ExceptionGroup("", [MemoryError()])]), True),
        (ExceptionGroup("", [FULL, MISSING]), False),
    ],
)
def test_what_counts_as_a_host_without_something(error: Exception, exhausted: bool) -> None:
    assert is_exhausted(error) is exhausted


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function after whose call no thread can be started; trio's idle ones are used up."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    def take() -> None:
        # A cache of its own: to the present one an abandoned thread of an earlier test may return.
        threads = trio._core._thread_cache
        monkeypatch.setattr(threads, "THREAD_CACHE", threads.ThreadCache())
        monkeypatch.setattr(threading.Thread, "start", refuse)

    return take


async def test_the_reserve_works_where_no_thread_can_be_started(
    no_threads: Callable[[], None],
) -> None:
    names: list[str] = []
    async with open_reserve():
        await until_ready()
        no_threads()
        names += [await work_in_thread(lambda: threading.current_thread().name) for _ in range(5)]
        with pytest.raises(ZeroDivisionError):
            await work_in_thread(lambda: 1 // 0)
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(work_in_thread, lambda: names.append(""))
    assert len(names) == 15
    assert threading.current_thread().name not in names


async def until_ready() -> None:
    reserve = io_threads._reserve.get(None)
    assert reserve is not None
    while reserve.threads < io_threads.RESERVED_THREADS:  # noqa: ASYNC110 - set by a thread
        await trio.sleep(0.001)


async def test_without_a_reserve_a_thread_is_waited_for(
    no_threads: Callable[[], None], autojump_clock: trio.testing.MockClock
) -> None:
    no_threads()
    begun = trio.current_time()
    with pytest.raises(OSError, match="no thread can be started") as caught:
        await call_in_thread(lambda: 1)
    assert caught.value.errno == errno.EAGAIN
    assert trio.current_time() - begun == pytest.approx(sum(io_threads.PAUSES))


async def test_an_error_of_the_work_is_not_a_missing_thread() -> None:
    calls = []

    def work() -> None:
        calls.append(1)
        raise RuntimeError("can't start new thread")

    with pytest.raises(RuntimeError):
        await call_in_thread(work)
    assert calls == [1]


async def test_descriptors_are_freed_when_there_are_none_and_held_again() -> None:
    before = open_descriptors()

    def fail() -> None:
        raise OSError(errno.EMFILE, "")

    async with open_reserve():
        await until_ready()
        assert len(open_descriptors() - before) == io_threads.RESERVED_DESCRIPTORS
        with pytest.raises(OSError, match=str(errno.EMFILE)):
            await call_in_thread(fail)
        assert open_descriptors() <= before
        hold_descriptors()
        assert len(open_descriptors() - before) == io_threads.RESERVED_DESCRIPTORS
    assert open_descriptors() <= before


@pytest.mark.parametrize("failures", [0, 1, 6])
async def test_what_the_host_lacks_is_waited_for(
    failures: int, autojump_clock: trio.testing.MockClock
) -> None:
    calls = 0

    async def attempt() -> None:
        nonlocal calls
        calls += 1
        if calls <= failures:
            raise OSError(errno.ENOMEM, "")

    for run in (retry_exhausted, waiting_out):
        calls = 0
        await run(attempt)
        assert calls == failures + 1


async def waiting_out(attempt: Callable[[], Awaitable[None]]) -> None:
    await wait_out("a part", attempt)


@pytest.mark.parametrize("run", [retry_exhausted, waiting_out])
async def test_other_errors_are_raised_at_once(
    run: Callable[[Callable[[], Awaitable[None]]], Awaitable[None]],
) -> None:
    async def attempt() -> None:
        raise MISSING

    with pytest.raises(FileNotFoundError):
        await run(attempt)


async def test_a_lack_without_end_is_raised(autojump_clock: trio.testing.MockClock) -> None:
    async def attempt() -> None:
        raise FULL

    with pytest.raises(OSError, match="full"):
        await retry_exhausted(attempt)
