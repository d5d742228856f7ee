"""Runs plugins in the agent's process: for tests under virtual time and embedders that trust them.

A plugin that hangs here blocks the agent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from trio_afrender.config.settings import PluginSettings
from trio_afrender.plugins.interfaces import (
    Conclusion,
    ErrorClass,
    ParserState,
    PluginSpec,
    PluginTask,
    ServiceFacts,
)
from trio_afrender.plugins.task_worker import TaskWorker
from trio_afrender.plugins.validation import merge_states, without_changes
from trio_afrender.tasklog.interfaces import RunLog

__all__ = ("InlineRunner", "InlineTask")

BYTES_PER_CHECKPOINT = 1024 * 1024
"""Bytes of log parsed between two checkpoints: other tasks of the loop run in between."""
_DEFAULTS = PluginSettings()


class InlineTask:
    """A `PluginTask` that calls the plugins directly."""

    def __init__(self, worker: TaskWorker) -> None:
        self.facts: ServiceFacts = worker.facts
        self._worker = worker
        self._state = ParserState()

    @property
    def disabled_reason(self) -> str:
        """Always empty: without a process there is nothing to kill."""
        return ""

    async def parse(
        self, upto: int, *, mode: str = "RUN", pid: int = 0, resources: str = ""
    ) -> ParserState:
        """See `PluginTask.parse`. A checkpoint precedes each step of `BYTES_PER_CHECKPOINT` bytes."""
        state: ParserState | None = None
        position = self._worker.position
        if mode == "RUN" and upto <= position and not self.facts.wants_ticks:
            await trio.lowlevel.checkpoint()
            return self._state  # no new output, and the parser wants no call without
        while True:
            await trio.lowlevel.checkpoint()
            position = min(position + BYTES_PER_CHECKPOINT, upto)
            if position < upto:
                part = self._worker.parse(position, pid=pid, resources=resources, more=True)
                state = merge_states(state, part)
                continue
            part = self._worker.parse(upto, mode=mode, pid=pid, resources=resources)
            state = merge_states(state, part)
            self._state = without_changes(state)
            return state

    async def run_end_checks(
        self, code: int | None, *, check_files: bool, post: bool
    ) -> Conclusion:
        """See `PluginTask`, also for the methods below."""
        await trio.lowlevel.checkpoint()
        return self._worker.run_end_checks(code, check_files=check_files, post=post)

    async def explain(
        self,
        code: int | None,
        signal: int | None,
        *,
        upto: int | None = None,
        last_lines: int = 0,
    ) -> tuple[ErrorClass, ...]:
        await trio.lowlevel.checkpoint()
        return self._worker.explain(code, signal, upto=upto, last_lines=last_lines)

    async def on_the_fly(self, files: tuple[str, ...]) -> tuple[str, ...]:
        await trio.lowlevel.checkpoint()
        return self._worker.on_the_fly(files)

    async def log(self) -> str:
        await trio.lowlevel.checkpoint()
        return self._worker.log()

    def problems(self) -> tuple[str, ...]:
        return self._worker.problems()


class InlineRunner:
    """A `PluginRunner` without a process."""

    def __init__(
        self, settings: PluginSettings = _DEFAULTS, *, folders: Sequence[Path] = ()
    ) -> None:
        self._settings = settings
        self._folders = tuple(folder.resolve() for folder in folders)

    @asynccontextmanager
    async def open_task(self, spec: PluginSpec, log: RunLog) -> AsyncIterator[PluginTask]:
        """Create service and parser. Raises `PluginNotFound`, `PluginError`."""
        await trio.lowlevel.checkpoint()
        yield InlineTask(TaskWorker(spec, log.reader(), self._settings, self._folders))
