"""Blocking calls in threads: the one way of the agent to make them, with a reserve for a host without any.

A host can run out of threads and descriptors, because of a task or of any other program. What the agent
needs to deliver outcomes it holds from its start on (`open_reserve`).
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from queue import SimpleQueue
from typing import TypeVar

import trio

from trio_afrender.async_helpers import open_bare_nursery
from trio_afrender.errors import is_exhausted

__all__ = (
    "call_in_thread",
    "hold_descriptors",
    "open_reserve",
    "retry_exhausted",
    "wait_out",
    "work_in_thread",
)

logger: logging.Logger = logging.getLogger(__name__)

MAX_THREADS = 4
RESERVED_THREADS = 2
RESERVED_DESCRIPTORS = 16
PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds between two attempts while the host has nothing left; together 4 s."""

_T = TypeVar("_T")

# A limiter belongs to one run of trio; an application that embeds the agent may have several.
_limiter: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar(
    "trio_afrender.tasklog.io_threads"
)
_reserve: trio.lowlevel.RunVar[_Reserve | None] = trio.lowlevel.RunVar("trio_afrender.reserve")


async def work_in_thread(work: Callable[[], _T], *, abandon: bool = False) -> _T:
    """Run blocking work on the store's disk: windows, copies, files. Raises as `call_in_thread`.

    Few threads do it, so that a hanging disk cannot take many.
    """
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = trio.CapacityLimiter(MAX_THREADS)
        _limiter.set(limiter)
    return await call_in_thread(work, limiter=limiter, abandon=abandon, reserved=True)


async def call_in_thread(
    work: Callable[[], _T],
    *,
    limiter: trio.CapacityLimiter | None = None,
    abandon: bool = False,
    reserved: bool = False,
) -> _T:
    """Call `work` in a thread. With `abandon`, a cancellation does not wait for it.

    `abandon` is for work that only reads: the thread keeps running and keeps its token. `reserved` is
    for what outcomes need and what does not take long: it may use the reserve. Without a `limiter`
    trio's own one counts. Raises what `work` raises, and `OSError` (EAGAIN) when for seconds no thread
    could be started.
    """
    begun = False

    def run() -> _T:
        nonlocal begun
        begun = True
        return work()

    for pause in (*PAUSES, None):
        try:
            return await trio.to_thread.run_sync(run, limiter=limiter, abandon_on_cancel=abandon)
        except RuntimeError as error:
            if begun or not is_exhausted(error):
                raise
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                hold_descriptors(0)  # the next attempt of the caller may have them
            raise
        reserve = _reserve.get(None)
        if reserved and reserve is not None and reserve.threads:
            return await reserve.call(work, abandon=abandon)
        if pause is not None:
            await trio.sleep(pause)
    raise OSError(errno.EAGAIN, "no thread can be started")


async def retry_exhausted(attempt: Callable[[], Awaitable[_T]]) -> _T:
    """Call `attempt` again, after growing pauses, while the host has nothing left for it.

    After some seconds its error is raised. Other errors are raised at once.
    """
    for pause in PAUSES:
        try:
            return await attempt()
        except Exception as error:
            if not is_exhausted(error):
                raise
            hold_descriptors(0)
        await trio.sleep(pause)
    return await attempt()


async def wait_out(name: str, run: Callable[[], Awaitable[None]]) -> None:
    """Run a part of the agent or of a run; run it again whenever the host had nothing left for it."""
    failures = 0
    while True:
        try:
            await run()
        except Exception as error:
            if not is_exhausted(error):
                raise
            hold_descriptors(0)
            if not failures:
                logger.warning("%s stopped for a moment: %r", name, error)
            await trio.sleep(PAUSES[min(failures, len(PAUSES) - 1)])
            failures += 1
        else:
            return


def hold_descriptors(count: int = RESERVED_DESCRIPTORS) -> None:
    """Hold so many descriptors of the agent's reserve, or as many as there are; 0 frees all."""
    if (reserve := _reserve.get(None)) is not None:
        reserve.hold(count)


class _Reserve:
    """Threads that wait for work that no other thread can do, and descriptors that can be closed."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._descriptors: list[int] = []
        self._limiter = trio.CapacityLimiter(RESERVED_THREADS)
        self.threads = 0
        """How many of the threads wait or work."""

    def hold(self, count: int) -> None:
        while len(self._descriptors) > count:
            os.close(self._descriptors.pop())
        try:
            while len(self._descriptors) < count:
                self._descriptors.append(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            logger.debug("fewer descriptors are held back: %s", error)

    async def serve(self) -> None:
        """Keep one thread, until the end of the reserve."""
        try:
            await trio.to_thread.run_sync(self._work, limiter=self._limiter, abandon_on_cancel=True)
        except RuntimeError as error:
            if not is_exhausted(error):
                raise
            logger.warning("no thread could be held back: %s", error)

    def _work(self) -> None:
        self.threads += 1
        while (job := self._jobs.get()) is not None:
            job()

    def end(self) -> None:
        for _ in range(RESERVED_THREADS):
            self._jobs.put(None)
        self.hold(0)

    async def call(self, work: Callable[[], _T], *, abandon: bool) -> _T:
        """Call `work` in one of the threads, after the work that was given to them before."""
        token, done = trio.lowlevel.current_trio_token(), trio.Event()
        results: list[_T] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                results.append(work())
            except BaseException as error:  # noqa: BLE001 - raised again by the caller
                errors.append(error)
            with suppress(trio.RunFinishedError):  # the caller was cancelled, and trio has ended
                token.run_sync_soon(done.set)

        self._jobs.put(run)
        with trio.CancelScope(shield=not abandon):
            await done.wait()
        if errors:
            raise errors[0]
        return results[0]


@asynccontextmanager
async def open_reserve() -> AsyncIterator[None]:
    """Hold threads and descriptors back while this is open. One reserve a run of trio."""
    if _reserve.get(None) is not None:
        yield  # another agent of this program holds it
        return
    reserve = _Reserve()
    async with open_bare_nursery() as nursery:
        for _ in range(RESERVED_THREADS):
            nursery.start_soon(reserve.serve)
        reserve.hold(RESERVED_DESCRIPTORS)
        _reserve.set(reserve)
        try:
            yield
        finally:
            _reserve.set(None)
            reserve.end()
