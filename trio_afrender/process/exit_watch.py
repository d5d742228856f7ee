"""Wait for the end of a child without reaping it, so that its pid stays ours to signal."""

from __future__ import annotations

import os
import select
import sys
from contextlib import suppress
from typing import Protocol, final

import trio

from trio_afrender.process import procfs
from trio_afrender.process.procfs import ProcessFacts

__all__ = ("ExitWatch", "PidfdWatch", "ThreadWatch", "make_watch", "wait_gone")

POLL_INTERVAL = 0.05
"""Seconds between looks at a process that is not our child, where no pidfd exists."""


class ExitWatch(Protocol):
    """Knows when one child has ended."""

    descriptor: int | None
    """A descriptor of the child, while the watch is open and where there is such a thing."""

    async def wait(self) -> None:
        """Wait until the child is a zombie, or was reaped elsewhere. Any number of tasks may wait."""
        ...

    def close(self) -> None: ...


@final
class PidfdWatch:
    """Linux: a descriptor that becomes readable at the end of all threads of the child."""

    def __init__(self, pid: int) -> None:
        self.descriptor: int | None = os.pidfd_open(pid)
        self._turn = trio.Lock()  # the loop allows one waiter a descriptor

    async def wait(self) -> None:
        async with self._turn:
            if self.descriptor is not None:
                await trio.lowlevel.wait_readable(self.descriptor)

    def close(self) -> None:
        if self.descriptor is not None:
            descriptor, self.descriptor = self.descriptor, None
            trio.lowlevel.notify_closing(descriptor)
            os.close(descriptor)


@final
class ThreadWatch:
    """Linux without pidfd: one thread of trio's cache blocks in `waitid`, and wakes the loop.

    Not `to_thread`: a cancelled wait would leave its thread behind, and the next one add another.
    """

    def __init__(self, pid: int) -> None:
        self.descriptor: int | None = None
        self._pid = pid
        self._ended: trio.Event | None = None

    async def wait(self) -> None:
        if self._ended is None:
            self._ended = trio.Event()
            ended, token = self._ended, trio.lowlevel.current_trio_token()

            def deliver(_: object) -> None:
                with suppress(trio.RunFinishedError):
                    token.run_sync_soon(ended.set)

            trio.lowlevel.start_thread_soon(self._block, deliver, f"wait for {self._pid}")
        await self._ended.wait()

    def _block(self) -> None:
        with suppress(ChildProcessError):  # reaped elsewhere, so it has ended
            os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)

    def close(self) -> None:
        """Nothing to give back: the thread ends with the child."""


if sys.platform != "linux" and sys.platform != "win32":

    @final
    class KqueueWatch:
        """macOS and BSD: the kernel's event queue reports the exit."""

        def __init__(self, pid: int) -> None:
            self.descriptor: int | None = None
            self._pid = pid
            self._turn = trio.Lock()  # the loop allows one waiter a pid

        def _change(self, flags: int) -> None:
            event = select.kevent(
                self._pid, select.KQ_FILTER_PROC, flags, fflags=select.KQ_NOTE_EXIT
            )
            trio.lowlevel.current_kqueue().control([event], 0)

        async def wait(self) -> None:
            def abort(_: object) -> trio.lowlevel.Abort:
                self._change(select.KQ_EV_DELETE)
                return trio.lowlevel.Abort.SUCCEEDED

            async with self._turn:
                try:
                    self._change(select.KQ_EV_ADD | select.KQ_EV_ONESHOT)
                except ProcessLookupError:  # a zombie already
                    return
                await trio.lowlevel.wait_kevent(self._pid, select.KQ_FILTER_PROC, abort)

        def close(self) -> None:
            """Nothing to give back."""


def make_watch(pid: int) -> ExitWatch:
    """Watch the child `pid`; raise `OSError` when no descriptor is left for it."""
    if sys.platform != "linux" and sys.platform != "win32":
        return KqueueWatch(pid)
    return PidfdWatch(pid) if procfs.PIDFD else ThreadWatch(pid)


async def wait_gone(facts: ProcessFacts) -> None:
    """Wait until the process that `facts` identifies has ended; it need not be a child."""
    if not procfs.PIDFD:
        while procfs.is_alive(facts):  # noqa: ASYNC110 - no event exists for it
            await trio.sleep(POLL_INTERVAL)
        await trio.lowlevel.checkpoint()
        return
    descriptor = procfs.open_pidfd(facts)
    if descriptor is None:
        await trio.lowlevel.checkpoint()
        return
    try:
        await trio.lowlevel.wait_readable(descriptor)
    finally:
        trio.lowlevel.notify_closing(descriptor)
        os.close(descriptor)
