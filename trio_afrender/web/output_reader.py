"""Pieces of outputs of tasks, for users who scroll back. A few outputs are kept between requests."""

from __future__ import annotations

from collections import OrderedDict

import attrs
import trio

from trio_afrender.afserver.remote_nodes import TaskNode
from trio_afrender.web.farm_watch import FarmWatch
from trio_afrender.web.output_buffer import OutputBuffer
from trio_afrender.web.output_feed import make_stored_output

__all__ = ("MAX_PIECE", "OutputReader")

MAX_PIECE = 256 * 1024
"""Bytes of a piece."""
_MAX_KEPT = 64 * 1024 * 1024
"""Bytes of the outputs that are kept."""
_MAX_OUTPUTS = 256
"""How many are kept: most tasks print little, and some nothing."""
_AT_ONCE = 3
"""Outputs that are read at once."""
_KEPT_FOR = 30.0
"""Seconds: an attempt that is over does not change, but jobs may get the ids of others."""


@attrs.define(slots=True, eq=False)
class OutputReader:
    """Reads pieces of outputs."""

    watch: FarmWatch
    _kept: OrderedDict[tuple[str, int, int], tuple[float, OutputBuffer]] = attrs.field(
        factory=OrderedDict
    )
    _reading: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(_AT_ONCE))

    async def read(
        self, task: TaskNode, attempt: int, *, before: int | None, start: int, limit: int
    ) -> dict[str, object]:
        """Return a piece of the output of an attempt, 0: of the last one, with its place.

        Raises what requests raise.
        """
        limit = max(1, min(limit, MAX_PIECE))
        number = attempt or task.starts
        followed = self.watch.outputs.get((task.job, task.block, task.task))
        running = task.is_in_run(number)
        if followed is not None and followed.attempt == number:
            buffer = followed.buffer
        else:
            buffer = await self._buffer_of(task, number, running=running)
        piece = buffer.after(start, limit) if before is None else buffer.before(before, limit)
        return {
            "attempt": number,
            "attempts": task.starts,
            "start": piece.start,
            "end": piece.end,
            "size": buffer.end,
            "text": piece.text,
            "running": running,
        }

    async def _buffer_of(self, task: TaskNode, number: int, *, running: bool) -> OutputBuffer:
        key = (task.key, task.started, number)
        # A few at once: an output may have 64 MiB, and a user who scrolls asks again and again.
        async with self._reading:
            now = trio.current_time()
            kept = self._kept.get(key)
            if kept is not None and kept[0] + (2.0 if running else _KEPT_FOR) > now:
                return kept[1]
            if not number:
                text = ""
            elif running:
                text = await self.watch.farm.running_output(task)
            else:
                text = await self.watch.farm.task_text(task, "output", run=number)
            buffer = await make_stored_output(text)
            self._kept[key] = (now, buffer)
            self._kept.move_to_end(key)
            self._forget(now)
            return buffer

    def _forget(self, now: float) -> None:
        """Forget what is old, and the oldest of too much, but not the newest."""
        size = sum(buffer.end for _, buffer in self._kept.values())
        while len(self._kept) > 1:
            key, (read_at, buffer) = next(iter(self._kept.items()))
            old = read_at + _KEPT_FOR <= now
            if not old and size <= _MAX_KEPT and len(self._kept) <= _MAX_OUTPUTS:
                return
            del self._kept[key]
            size -= buffer.end
