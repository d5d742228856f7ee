"""Shows what the tasks of a job print, line by line behind their names, while they run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import partial

import attrs
import trio

from trio_afrender.cli.progress_display import Screen
from trio_afrender.cli.terminal import clean, shorten_line
from trio_afrender.farm.farm import Farm
from trio_afrender.farm.user_requests import listen
from trio_afrender.jobs.task_choice import TaskPlace
from trio_afrender.protocol.messages import TaskKey
from trio_afrender.tasklog.io_threads import call_in_thread, wait_out
from trio_afrender.text import last_state, without_escapes

__all__ = ("OutputLines", "follow_tasks", "keep_some", "listen_from_start")

_MAX_LINE = 1000
"""Characters of a line that are shown."""
_MAX_LINES = 1000
"""Lines of one piece of output: more come at once than a terminal can show."""
_MAX_LABEL = 40
_OVERWRITTEN_INTERVAL = 1.0
"""Seconds between two states of a line that a program overwrites, as progress bars do."""
# One thread, so that the lines of a task keep their order. A terminal that blocks delays only these.
_printer = trio.CapacityLimiter(1)


def listen_from_start(farm: Farm, job: int, wanted: Collection[TaskPlace]) -> None:
    """Have renders send the output of tasks from its first byte. For a job that has not started."""
    for block in farm.state.find_job(job).blocks:
        for task in block.tasks:
            if (task.key.block, task.key.task) in wanted:
                listen(farm.state, task)


async def follow_tasks(farm: Farm, job: int, screen: Screen, wanted: Collection[TaskPlace]) -> None:
    """Show the output of wanted tasks until the job is over."""
    followed: set[TaskKey] = set()
    record = farm.state.find_job(job)
    seen = 0
    async with trio.open_nursery() as nursery:
        while not record.over:
            # A run is seen before it ends: its end is at least a message later than its start.
            for render in farm.state.renders.values():
                for run in render.running.values():
                    key = run.task.key
                    if key not in followed and (key.block, key.task) in wanted:
                        followed.add(key)
                        spec = run.task.block.spec
                        name = clean(f"{spec.name} / {spec.task_name(key.task)}")
                        nursery.start_soon(_follow, farm, key, name, screen)
            seen = await farm.changed(seen)


async def _follow(farm: Farm, key: TaskKey, name: str, screen: Screen) -> None:
    lines = OutputLines()
    show = partial(_print, screen, shorten_line(name, _MAX_LABEL), key.block + key.task)
    async with farm.listen(key) as pieces:
        async for piece in pieces:
            await show(list(lines.add(piece, trio.current_time())))
    await show(list(lines.end()))


async def _print(screen: Screen, name: str, number: int, lines: Sequence[str]) -> None:
    def write() -> None:
        for line in keep_some(lines):
            screen.output(name, number, line)

    if lines:
        call = partial(call_in_thread, write, abandon=True, limiter=_printer)
        await wait_out("the output of tasks", call)


def keep_some(lines: Sequence[str]) -> Sequence[str]:
    """Return the first and the last of many lines, with a line that counts the others."""
    left = len(lines) - _MAX_LINES
    if left <= 0:
        return lines
    half = _MAX_LINES // 2
    return [*lines[:half], f"[{left} lines are left out here]", *lines[-half:]]


@attrs.define(slots=True)
class OutputLines:
    """Makes whole, cleaned lines of pieces of output. Of an overwritten line, some states are shown."""

    _rest: str = ""
    _shown_at: float = -_OVERWRITTEN_INTERVAL

    def add(self, piece: str, now: float) -> Iterator[str]:
        """Take a piece and yield the lines to be shown; `now` is in seconds."""
        *lines, self._rest = (self._rest + piece).split("\n")
        for line in lines:
            yield from self._show(line)
        done, end, unfinished = self._rest.rpartition("\r")
        if end and now - self._shown_at >= _OVERWRITTEN_INTERVAL:
            self._shown_at = now
            self._rest = unfinished
            yield from self._show(done)
        # A line without an end may have megabytes: only its last part can be shown.
        self._rest = self._rest[-_MAX_LINE * 4 :]

    def end(self) -> Iterator[str]:
        """Yield what is left."""
        yield from self._show(self._rest)

    def _show(self, line: str) -> Iterator[str]:
        if text := without_escapes(last_state(line)).rstrip():
            yield shorten_line(text, _MAX_LINE)
