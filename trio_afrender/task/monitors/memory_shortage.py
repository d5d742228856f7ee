"""Records whether the host was short of memory while a run lived, and which processes used it.

When a run has failed, its memory is free again: the table of the largest processes must be taken before.
It is taken every period while memory is short; the last one counts.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import trio

from trio_afrender.hostinfo.memory import MemoryHeadroom
from trio_afrender.hostinfo.process_usage import ProcessUsage
from trio_afrender.task.run_state import RunState
from trio_afrender.task.usage_totals import show_bytes

__all__ = ("MemoryShortage", "is_short", "memory_table")

SHORTAGE_FRACTION = 0.05
"""Part of the host's memory; with less available, memory is short."""
RECENT_WINDOW = 30.0
"""Seconds after which a table no longer explains a failure: some programs take long to end."""


def is_short(headroom: MemoryHeadroom) -> bool:
    """Whether so little memory is available that programs fail because of it."""
    return headroom.available < headroom.total * SHORTAGE_FRACTION


def memory_table(largest: Sequence[ProcessUsage], own: Collection[int]) -> str:
    """Return a table of the largest processes as text; the pids in `own` are marked as this task's."""
    lines = ["      pid     memory  program"]
    for usage in largest:
        mark = "  (this task)" if usage.pid in own else ""
        lines.append(f"{usage.pid:>9} {show_bytes(usage.resident):>10}  {usage.name}{mark}")
    return "\n".join(lines)


class MemoryShortage:
    """Watches the host's memory for one run; `sentence` and `table` are empty if it was not short."""

    def __init__(self, state: RunState) -> None:
        self.sentence: str = ""
        self.table: str = ""
        self._state = state
        self._headroom = state.dependencies.headroom
        self._kills: int | None = None
        self._taken = 0.0

    async def look(self) -> None:
        """Take the table if memory is short. Called at the moments at which the usage is measured."""
        headroom = self._headroom.recent()
        # The kernel counts from the start of the host: only the difference is of this run's time.
        if self._kills is None and headroom.known:
            self._kills = headroom.oom_kills
        if is_short(headroom):
            await self._take(headroom)

    async def conclude(self) -> bool:
        """Decide after a failure whether the host was short of memory; if so, `sentence` is set."""
        # Read now: a kill by the kernel may be the cause of this end.
        headroom = self._headroom.read()
        killed = headroom.oom_kills - self._kills if self._kills is not None else 0
        recent = self.table and trio.current_time() - self._taken <= RECENT_WINDOW
        if not recent and (killed > 0 or is_short(headroom)):
            # A run that failed before the first look is explained by what is seen now.
            await self._take(headroom)
        elif not recent:
            self.sentence = self.table = ""
            await trio.lowlevel.checkpoint()
            return False
        if killed > 0:
            many = "once" if killed == 1 else f"{killed} times"
            kernel = f"the kernel killed a process for lack of memory {many} since the task started"
            before = recent or is_short(headroom)
            after = (
                f"{show_bytes(headroom.available)} of {show_bytes(headroom.total)}"
                " available afterwards"
            )
            # The kill itself has freed memory, so "short" may be no longer what is measured.
            self.sentence = f"{self.sentence}; {kernel}" if before else f"{kernel}; {after}"
        return True

    async def _take(self, headroom: MemoryHeadroom) -> None:
        largest = await self._state.dependencies.usage_reader.largest()
        # The leader by itself: a tree that has just started has no measured members yet.
        pids = {pid for pid, _ in self._state.members} | {self._state.pid}
        self._taken = trio.current_time()
        self.sentence = (
            f"the host was short of memory: {show_bytes(headroom.available)} of"
            f" {show_bytes(headroom.total)} available"
        )
        self.table = memory_table(largest, {pid for pid in pids if pid is not None})
