"""Measures a run's process tree while it runs: every few seconds, and once more before its end.

The first look comes early, so that short tasks have figures; the others come at moments that all
runs share, because then one look at the host's processes serves them all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from trio_afrender.hostinfo.process_usage import ProcessUsage
from trio_afrender.hostinfo.rates import until_tick
from trio_afrender.process.interfaces import ProcessTree
from trio_afrender.task.reasons import ReasonLog
from trio_afrender.task.task_control import TaskControl
from trio_afrender.task.tools import ProcessUsageReader
from trio_afrender.task.usage_totals import TreeUsage, usage_sentence

__all__ = ("UsageMonitor",)

FIRST_SAMPLE_DELAY = 1.0
"""Seconds after its start at which a tree is measured for the first time."""
FINAL_SAMPLE_TIMEOUT = 0.5
"""Seconds that a measurement may delay a stop."""
MAX_FINAL_SAMPLES = 64
"""Processes asked once more at the end; each takes some microseconds of the loop."""


class UsageMonitor:
    """The figures of one run, over all its processes."""

    def __init__(
        self,
        usage_reader: ProcessUsageReader,
        handle: TaskControl,
        why: ReasonLog,
        *,
        period: Callable[[], float],
        publish: Callable[[], Awaitable[None]],
        beside: Callable[[], Awaitable[None]],
    ) -> None:
        self.measured = False
        """Whether there are figures at all."""
        self._usage_reader = usage_reader
        self._handle = handle
        self._why = why
        self._period = period
        self._publish = publish
        self._beside = beside  # what else is looked at with each measurement
        self._ledger = TreeUsage(trio.current_time())
        self._child: ProcessTree | None = None

    async def follow(self, child: ProcessTree) -> None:
        """Measure the tree of `child` until cancelled, or until `freeze` or `close` of it."""
        self._child = child
        wait = min(FIRST_SAMPLE_DELAY, self._period())
        while True:
            await trio.sleep(wait)
            if self._child is not child:
                return
            found = await self._read(child)
            if self._child is not child:  # overtaken by its end
                return
            if found:
                self._take(found)
                await self._publish()
            await self._beside()
            wait = until_tick(trio.current_time(), self._period())

    async def freeze(self) -> None:
        """Take the figures as they are now, before the tree is asked to end; they stay so."""
        child, self._child = self._child, None
        if child is None:
            return
        with trio.move_on_after(FINAL_SAMPLE_TIMEOUT):
            self._take(await self._read(child))
        if self.measured:
            usage = self._ledger.usage
            text = f"{usage_sentence(usage)} so far, {usage.cpu_percent:.0f} % of a core at last"
            self._why.add("figures", text)

    def close(self, child: ProcessTree) -> None:
        """Take the last word of a tree whose leader has ended and waits to be collected."""
        self._child = None
        if child.final_usage is not None:
            self._ledger.settle(child.final_usage.cpu, child.final_usage.peak)
            self._tell()
            return
        others = sorted(pid for pid, _ in self._ledger.keys if pid != child.pid)
        looks = map(self._usage_reader.read_usage_now, (child.pid, *others[:MAX_FINAL_SAMPLES]))
        known = [
            usage
            for usage in looks
            if usage is not None and (usage.pid == child.pid or usage.key in self._ledger.keys)
        ]
        if known:
            self._ledger.close(known)
            self._tell()

    async def _read(self, child: ProcessTree) -> tuple[ProcessUsage, ...]:
        """Ask for the members, and for those of last time: a zombie is no member, but counts."""
        try:
            members = frozenset(await child.members())
        except OSError:  # no descriptor to look with: the next time
            return ()
        keys = self._ledger.keys
        found = await self._usage_reader.read(members | {pid for pid, _ in keys})
        return tuple(usage for usage in found if usage.pid in members or usage.key in keys)

    def _take(self, found: tuple[ProcessUsage, ...]) -> None:
        if found:
            self._ledger.advance(found, trio.current_time(), self._usage_reader.shares())
            self._tell()

    def _tell(self) -> None:
        self.measured = True
        self._handle.measure(self._ledger.usage, self._ledger.passed_bytes, self._ledger.keys)
