"""Thumbnails of files that the parser announces while the task still runs.

Made one after another beside the task, never in its way: their output is not the task's, their
failure is a line in its log.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import trio

from trio_afrender.child.base import Launch
from trio_afrender.errors import SpawnError
from trio_afrender.output.memory import MemoryLog
from trio_afrender.plugins.base import PluginTask
from trio_afrender.task.handle import TaskHandle
from trio_afrender.task.record import Record
from trio_afrender.task.supervise import supervise
from trio_afrender.task.why import Chain

__all__ = ("Thumbnails",)

MAX_OUTPUT = 2000


class Thumbnails:
    """A queue of announced files and the worker that empties it."""

    def __init__(
        self,
        plugins: PluginTask,
        record: Record,
        make_launch: Callable[[str], Launch],
        collect: Callable[[], Awaitable[None]],
    ) -> None:
        self._plugins = plugins
        self._record = record
        self._make_launch = make_launch
        self._collect = collect
        self._send, self._receive = trio.open_memory_channel[tuple[str, ...]](math.inf)
        self._idle = trio.Event()
        self._idle.set()

    def announce(self, files: tuple[str, ...]) -> None:
        """Queue files; returns at once."""
        self._idle = trio.Event()
        self._send.send_nowait(files)

    async def run(self) -> None:
        """Make thumbnails until cancelled."""
        async for files in self._receive:
            for command in await self._plugins.on_the_fly(files):
                await self._make(command)
            await self._collect()
            if not self._receive.statistics().current_buffer_used:
                self._idle.set()

    async def finish(self, deadline: float) -> bool:
        """Wait until all that was announced is made, each bounded by the post limit.

        Return whether it is; False: trio's time `deadline` came first.
        """
        with trio.move_on_at(deadline):
            await self._idle.wait()
        return self._idle.is_set()

    async def _make(self, command: str) -> None:
        tools, record = self._record.tools, self._record
        output, handle = MemoryLog(), TaskHandle(record.handle.task)
        limit = tools.config.post_limit
        try:
            child = await tools.spawn(self._make_launch(command))
        except SpawnError as error:
            record.note(f"thumbnail: {error}")
            return
        end = await supervise(
            child,
            output,
            handle,
            Chain(tools.wall),
            timing=tools.config.timing,
            grace=0,
            limit=limit if limit > 0 else math.inf,
            before_term=trio.lowlevel.checkpoint,
        )
        if end.status is None or end.status.code != 0:
            said = output.reader().read(0, MAX_OUTPUT).data.decode("utf-8", "replace").strip()
            record.note(f"thumbnail: {command} ended with {end.status}: {said}")
