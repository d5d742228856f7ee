"""Measures a run's process trees: every few seconds, and once more before each one ends.

The first measurement comes early, so that short tasks have figures. The others come at moments that
all runs share: then one thread reads the processes of all of them.
"""

from __future__ import annotations

import math

import trio

from trio_afrender.hostinfo.process_usage import ProcessUsage
from trio_afrender.hostinfo.rates import next_tick
from trio_afrender.process.interfaces import ProcessTree
from trio_afrender.task.monitors.memory_shortage import MemoryShortage
from trio_afrender.task.run_state import RunState
from trio_afrender.task.usage_totals import TreeUsage, usage_sentence

__all__ = ("UsageMonitor",)

FIRST_SAMPLE_DELAY = 1.0
"""Seconds after the start of a tree until its first measurement."""
FINAL_SAMPLE_TIMEOUT = 0.5
"""Seconds that a measurement may delay a stop."""
MAX_UPDATE_AGE = 60.0
"""Seconds after which figures that have not changed are sent again: a server may have lost them."""
MAX_FINAL_SAMPLES = 64
"""Processes that are read once more at the end; each takes some microseconds of the event loop."""


class UsageMonitor:
    """Measures one run, over all its processes."""

    def __init__(self, state: RunState, shortage: MemoryShortage) -> None:
        self._state = state
        self._shortage = shortage
        self._usage_reader = state.dependencies.usage_reader
        self._tree_usage = TreeUsage(trio.current_time())
        self._measured = False
        """Whether there has been a measurement."""
        self._tree: ProcessTree | None = None
        """The tree that is measured now; `freeze` and `close` end that by setting None."""
        self._first_at = 0.0

    def begin(self, process: ProcessTree) -> None:
        """Note that `process` has started: from now on `freeze` measures it, even before `run`."""
        self._tree = process
        self._first_at = trio.current_time() + min(
            FIRST_SAMPLE_DELAY, self._state.dependencies.period()
        )

    async def run(self, process: ProcessTree) -> None:
        """Measure `process` until cancelled, or until `freeze` or `close` of it.

        The shortage of memory is looked for at the same moments, by the same task, until cancelled.
        """
        sent, batches = -math.inf, self._state.dependencies.usage_batches
        await trio.sleep_until(self._first_at)
        while True:
            await self._shortage.look()
            if self._tree is process:
                found = await self._read(process)
                # If it ended while it was read, its final values are noted, and these are older.
                if found and self._tree is process:
                    before, now = self._state.usage, trio.current_time()
                    self._advance(found)
                    # The figures of a quiet tree are those that the server has.
                    if self._state.usage != before or now - sent >= MAX_UPDATE_AGE:
                        sent = now
                        await self._state.publish()
            period = self._state.dependencies.period()
            await batches.sleep_until(next_tick(trio.current_time(), period))

    async def freeze(self) -> None:
        """Take a last measurement before the tree is stopped: what it does while it ends is not the
        task's work."""
        # Reset before the read: `run` then discards what it may be reading now.
        tree, self._tree = self._tree, None
        if tree is None:
            return
        with trio.move_on_after(FINAL_SAMPLE_TIMEOUT):
            self._advance(await self._read(tree))
        if self._measured:
            usage = self._tree_usage.usage
            text = f"{usage_sentence(usage)} so far, {usage.cpu_percent:.0f} % of a core just now"
            self._state.why.add("figures", text)

    def close(self, tree: ProcessTree) -> None:
        """Note the final usage of a tree whose leader has ended but is not reaped yet."""
        self._tree = None
        # A supervisor has waited for every process of the tree and knows the exact totals.
        if tree.final_usage is not None:
            self._tree_usage.settle(tree.final_usage.cpu, tree.final_usage.peak)
            self._note()
            return
        others = sorted(pid for pid, _ in self._tree_usage.keys if pid != tree.pid)
        readings = map(self._usage_reader.read_usage_now, (tree.pid, *others[:MAX_FINAL_SAMPLES]))
        # The leader's pid is safe until it is reaped. Another pid may have been given to a process of
        # another tree since the last measurement, which its start time shows
        # (test_a_pid_that_was_given_to_another_process_does_not_count).
        known = [
            usage
            for usage in readings
            if usage is not None and (usage.pid == tree.pid or usage.key in self._tree_usage.keys)
        ]
        if known:
            self._tree_usage.close(known)
            self._note()

    async def _read(self, tree: ProcessTree) -> tuple[ProcessUsage, ...]:
        """Read the members of the tree and those of the last measurement; () if that fails."""
        try:
            members = frozenset(await tree.members())
        except OSError:  # no descriptor left; the next measurement may succeed
            return ()
        # A zombie is no member any more, but its totals count until its parent has waited for it.
        keys = self._tree_usage.keys
        batches = self._state.dependencies.usage_batches
        found = await batches.read(members | {pid for pid, _ in keys})
        return tuple(usage for usage in found if usage.pid in members or usage.key in keys)

    def _advance(self, found: tuple[ProcessUsage, ...]) -> None:
        if found:
            shares = self._usage_reader.shares()
            self._tree_usage.advance(found, trio.current_time(), shares)
            self._note()

    def _note(self) -> None:
        self._measured = True
        # Wakes the monitors of limits and of stuck trees.
        totals = self._tree_usage
        self._state.measured(totals.usage, totals.io_bytes, totals.keys)
