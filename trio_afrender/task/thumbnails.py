"""Thumbnails of files that the parser announces while the task still runs.

Made one after another beside the task, never in its way: their output is not the task's, their
failure is a line in its log. An announced file may still be on its way to the disk: what cannot be
read is tried again, and once more when the task is over.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable

import trio

from trio_afrender.errors import SpawnError
from trio_afrender.plugins.interfaces import PluginTask
from trio_afrender.process.interfaces import Launch
from trio_afrender.task.image_worker import ImageProblem
from trio_afrender.task.process_lifecycle import supervise
from trio_afrender.task.reasons import ReasonLog
from trio_afrender.task.run_state import RunState
from trio_afrender.task.task_control import TaskControl
from trio_afrender.task.tools import TaskDependencies
from trio_afrender.tasklog.memory_log import MemoryLog
from trio_afrender.thumbnail.command import Wanted, read_command

__all__ = ("Thumbnails", "make_thumbnails", "wanted_of")

MAX_OUTPUT = 2000
MAX_BACKLOG = 32
"""Announced files that may wait; of more the oldest are passed over: new ones say more."""
RETRY_DELAY = 2.0
"""Seconds until a file that could not be read is tried again."""
MAX_TRIES = 5


def wanted_of(command: str, tools: TaskDependencies) -> Wanted | None:
    """What our own worker can make of a command; None: it is for the shell."""
    return read_command(command) if tools.image_worker is not None else None


async def make_thumbnails(wanted: Wanted, tools: TaskDependencies, limit: float) -> str:
    """Make a thumbnail; return what went wrong, empty when all is well."""
    assert tools.image_worker is not None  # noqa: S101 - as `wanted_of` said
    try:
        await tools.image_worker.thumbnail(wanted.image, wanted.thumb, wanted.height, limit)
    except ImageProblem as problem:
        return f"no thumbnail: {problem}"
    return ""


class Thumbnails:
    """A queue of announced files and the worker that empties it."""

    def __init__(
        self,
        plugins: PluginTask,
        record: RunState,
        make_launch: Callable[[str], Launch],
        collect: Callable[[], Awaitable[None]],
    ) -> None:
        self._plugins = plugins
        self._record = record
        self._make_launch = make_launch
        self._collect = collect
        limit = record.tools.config.post_limit
        self._limit = limit if limit > 0 else math.inf
        self._waiting: deque[str] = deque()
        self._unfinished: dict[str, int] = {}
        """Commands that failed so far, and how often."""
        self._due = 0.0
        """When those are tried again."""
        self._passed_over = 0
        self._over = False
        self._news = trio.Event()
        self._idle = trio.Event()
        self._idle.set()

    def announce(self, files: tuple[str, ...]) -> None:
        """Queue files; returns at once."""
        self._waiting.extend(file for file in files if file not in self._waiting)
        while len(self._waiting) > MAX_BACKLOG:
            self._waiting.popleft()
            self._passed_over += 1
        self._wake()

    def _wake(self) -> None:
        self._idle = trio.Event()
        self._news.set()

    async def run(self) -> None:
        """Make thumbnails until cancelled."""
        while True:
            with trio.move_on_at(self._due if self._unfinished else math.inf):
                await self._news.wait()
            self._news = trio.Event()
            while self._waiting:
                files = tuple(self._waiting)
                self._waiting.clear()
                for command in await self._plugins.on_the_fly(files):
                    await self._try(command)
                await self._collect()
            if self._unfinished and (self._over or trio.current_time() >= self._due):
                self._due = trio.current_time() + RETRY_DELAY
                for command in tuple(self._unfinished):
                    await self._try(command)
                await self._collect()
            if not self._waiting and not self._unfinished:
                self._idle.set()

    async def finish(self, deadline: float) -> bool:
        """Wait until all that was announced is made, if it can be; no longer than one may take.

        A stop ends the waiting. Return whether there was time: False if trio's time `deadline`
        came first.
        """
        self._over = True
        if not self._idle.is_set():
            self._wake()
        with trio.move_on_at(deadline), self._record.handle.stoppable(self._limit):
            await self._idle.wait()
        if not self._idle.is_set() and trio.current_time() >= deadline:
            return False
        if not self._idle.is_set():
            self._record.note("thumbnails: there was no time for all files that were announced")
        elif self._passed_over:
            self._record.note(
                f"thumbnails: {self._passed_over} files were passed over, newer ones came too fast"
            )
        return True

    async def _try(self, command: str) -> None:
        """One attempt; the last one's failure goes into the log."""
        wanted = wanted_of(command, self._record.tools)
        if wanted is not None:
            problem = await make_thumbnails(wanted, self._record.tools, self._limit)
        else:
            problem = await self._run_command(command)
        tries = self._unfinished.pop(command, 0) + 1
        if not problem:
            return
        if self._over or tries >= MAX_TRIES:
            self._record.note(problem)
        else:
            if not self._unfinished:
                self._due = trio.current_time() + RETRY_DELAY
            self._unfinished[command] = tries

    async def _run_command(self, command: str) -> str:
        """Run a command of ``af_thumbnail_cmd``; return what went wrong."""
        tools = self._record.tools
        output, handle = MemoryLog(), TaskControl(self._record.handle.task)
        try:
            child = await tools.spawn(self._make_launch(command))
        except SpawnError as error:
            return f"thumbnail: {error}"
        end = await supervise(
            child,
            output,
            handle,
            ReasonLog(tools.wall),
            timing=tools.config.timing,
            grace=0,
            limit=self._limit,
            before_term=trio.lowlevel.checkpoint,
        )
        if end.status is not None and end.status.code == 0:
            return ""
        said = output.reader().read(0, MAX_OUTPUT).data.decode("utf-8", "replace").strip()
        return f"thumbnail: {command} ended with {end.status}: {said}"
