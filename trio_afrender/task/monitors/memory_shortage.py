"""Whether the host was short of memory while a run lived, and which processes had it.

When a run has failed its memory is free again, so whoever wants to know must have looked before.
The table is taken while memory is short, with each measurement of the run's tree; the last one counts.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import trio

from trio_afrender.hostinfo.memory import MemoryHeadroom, ReadHeadroom
from trio_afrender.hostinfo.process_usage import ProcessUsage
from trio_afrender.task.task_control import TaskControl
from trio_afrender.task.tools import ProcessUsageReader
from trio_afrender.task.usage_totals import show_bytes

__all__ = ("MemoryShortage", "is_short", "memory_table")

SHORTAGE_FRACTION = 0.05
"""Part of the host's memory below which what is available counts as short."""
RECENT_WINDOW = 30.0
"""Seconds for which a table may explain a failure: a program may take its time to die."""


def is_short(room: MemoryHeadroom) -> bool:
    """Whether so little memory is available that programs fail for want of it."""
    return room.available < room.total * SHORTAGE_FRACTION


def memory_table(largest: Sequence[ProcessUsage], mine: Collection[int]) -> str:
    """The largest processes of the host, for people."""
    lines = ["      pid     memory  program"]
    for usage in largest:
        whose = "  (this task)" if usage.pid in mine else ""
        lines.append(f"{usage.pid:>9} {show_bytes(usage.resident):>10}  {usage.name}{whose}")
    return "\n".join(lines)


class MemoryShortage:
    """Looks after one run's host; `sentence` and `table` are empty until there is something to say."""

    def __init__(
        self, read_room: ReadHeadroom, usage_reader: ProcessUsageReader, handle: TaskControl
    ) -> None:
        self.sentence = ""
        self.table = ""
        self._read_room = read_room
        self._usage_reader = usage_reader
        self._handle = handle
        self._kills: int | None = None
        self._taken = 0.0

    async def look(self) -> None:
        """Take a table if memory is short now."""
        room = self._read_room()
        if self._kills is None:
            self._kills = room.oom_kills
        if is_short(room):
            await self._take(room)
        else:
            await trio.lowlevel.checkpoint()

    async def conclude(self) -> bool:
        """Tell, at a failure, whether the host was short of memory; then there is a `sentence`."""
        room = self._read_room()
        killed = room.oom_kills - self._kills if self._kills is not None else 0
        recent = self.table and trio.current_time() - self._taken <= RECENT_WINDOW
        if not recent and (killed > 0 or is_short(room)):
            await self._take(room)
        elif not recent:
            self.sentence = self.table = ""
            await trio.lowlevel.checkpoint()
            return False
        if killed > 0:
            many = "once" if killed == 1 else f"{killed} times"
            kernel = f"the kernel has killed for want of memory {many} since its start"
            before = recent or is_short(room)
            after = f"{show_bytes(room.available)} of {show_bytes(room.total)} available afterwards"
            self.sentence = f"{self.sentence}; {kernel}" if before else f"{kernel}; {after}"
        return True

    async def _take(self, room: MemoryHeadroom) -> None:
        largest = await self._usage_reader.largest()
        pids = {pid for pid, _ in self._handle.members} | {self._handle.pid}
        self._taken = trio.current_time()
        self.sentence = (
            f"the host was short of memory: {show_bytes(room.available)} of"
            f" {show_bytes(room.total)} available"
        )
        self.table = memory_table(largest, {pid for pid in pids if pid is not None})
