"""Follows a run's log with its parser and turns the parser's state into progress.

The parser may be slower than the renderer: it reads the log behind it, in pieces, and the renderer
never waits. Calls have a minimum interval, so that what is printed meanwhile goes in one call.
"""

from __future__ import annotations

import math

import trio

from trio_afrender.plugins.interfaces import ParserState, PluginTask
from trio_afrender.protocol.messages import TaskStatus
from trio_afrender.task.run_folder import RunFolder
from trio_afrender.task.run_state import RunState
from trio_afrender.task.status_rules import StopCause, StopKind
from trio_afrender.task.thumbnails import Thumbnails

__all__ = ("ProgressReader",)

CALL_INTERVAL = 0.1
"""Seconds between two calls while output keeps coming: ten updates a second are enough."""
TICK_INTERVAL = 1.0
"""Seconds without a whole line after which a parser with `wants_ticks` is called without new output."""
MAX_BYTES_PER_CALL = 8 * 1024 * 1024
"""Bytes of log in one call, so that even a slow parser answers within its time limit."""

STOP_FLAGS = (
    ("error", StopKind.PARSER_ERROR, "the parser saw an error"),
    ("fatalerror", StopKind.PARSER_FATAL_ERROR, "the parser saw a fatal error"),
    ("finishedsuccess", StopKind.PARSER_SUCCESS, "the parser saw that the work is done"),
)


class ProgressReader:
    """Feeds one run's parser, over all its processes, and keeps the run's progress up to date."""

    def __init__(
        self, state: RunState, run_folder: RunFolder, plugins: PluginTask, thumbnails: Thumbnails
    ) -> None:
        self._state = state
        self._run_folder = run_folder
        self._plugins = plugins
        self._thumbnails = thumbnails
        self._published: tuple[TaskStatus, ParserState] | None = None
        # Log size at the last call. It is beyond `parsed.consumed` by the unfinished line, which alone
        # is no reason for another call.
        self._seen = 0
        self._over = False
        # Cancelled by `end`. A task that waits for the end beside another one that waits for output
        # would be a tenth of what a quiet run takes of memory.
        self._waiting = trio.CancelScope()

    def begin(self) -> None:
        """Allow `follow` for the next process of the run."""
        self._over = False

    def end(self) -> None:
        """Let `follow` return, with the rest unparsed; a call under way is finished."""
        self._over = True
        self._waiting.cancel()

    async def follow(self, pid: int) -> None:
        """Parse what comes between `begin` and `end`."""
        log = self._run_folder.log
        interval = TICK_INTERVAL if self._plugins.facts.wants_ticks else math.inf
        tick_at = trio.current_time() + interval
        while True:
            if log.size <= self._seen and not self._over:
                with trio.move_on_at(tick_at) as self._waiting:
                    await log.wait_beyond(self._seen)
            if self._over:
                return
            consumed = self._state.parsed.consumed
            if log.size > self._seen:
                await self._parse_piece(pid)
            if self._state.parsed.consumed != consumed:
                tick_at = trio.current_time() + interval
            elif trio.current_time() >= tick_at:
                # Also while an unfinished line grows: its parts are what some parsers wait for. The
                # same offset again marks a tick (`TaskWorker.parse`).
                await self._call(self._seen, "RUN", pid)
                tick_at = trio.current_time() + interval
            if self._seen >= log.size and not self._over:
                # Up to date: collect output for a moment. A reader that is behind does not wait.
                with trio.move_on_after(CALL_INTERVAL) as self._waiting:
                    await trio.sleep_forever()

    async def finish(self, mode: str, *, verdict: bool) -> None:
        """Parse all that is left, the unfinished line too, and make the last call with `mode`.

        Without `verdict` (post commands) flags that the parser sets here do not count.
        """
        log, state = self._run_folder.log, self._state
        while state.has_parser and not self._plugins.disabled_reason:
            consumed = state.parsed.consumed
            if log.size - consumed > MAX_BYTES_PER_CALL:
                await self._parse_piece(0, verdict=verdict)
                if state.parsed.consumed != consumed:
                    continue
                # One unfinished line longer than a piece: without the last call now the loop would
                # not end.
            await self._call(log.size, mode, 0, verdict=verdict)
            break

    async def _parse_piece(self, pid: int, *, verdict: bool = True) -> None:
        upto = min(self._run_folder.log.size, self._state.parsed.consumed + MAX_BYTES_PER_CALL)
        await self._call(upto, "RUN", pid, verdict=verdict)

    async def _call(self, upto: int, mode: str, pid: int, *, verdict: bool = True) -> None:
        """Call the parser for the log up to offset `upto`; show, act on and publish what it returns."""
        state = self._state
        resources = state.dependencies.resources()
        parsed = await self._plugins.parse(upto, mode=mode, pid=pid, resources=resources)
        # Only now: where the host had nothing left for the call, `wait_out` repeats it.
        self._seen = upto
        state.progressed(parsed, count_flags=verdict)
        await self._run_folder.view.apply(parsed.consumed, parsed.replaced)
        if parsed.files_onthefly:
            self._thumbnails.announce(parsed.files_onthefly)
        # The last call changes the outcome, which is sent next: no update, no stop.
        if mode == "RUN":
            for flag, kind, text in STOP_FLAGS:
                # A stop that came first keeps its cause.
                if flag in state.flags and state.control.cause is None:
                    number = parsed.deciding_line
                    where = f" in line {number} of the output" if number else ""
                    state.why.add("rule", f"{text}{where}: the task is stopped")
                    state.control.stop(StopCause(kind=kind, text=text))
            # Only changes: most calls of a parser find nothing new.
            if (state.status, parsed) != self._published:
                self._published = (state.status, parsed)
                await state.publish()
