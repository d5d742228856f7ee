"""Follows a run's log with its parser and turns the parser's state into progress.

The parser may be slower than the renderer: it reads the log behind it, in pieces, and the renderer
never waits. Calls have a minimum interval, so that what is printed meanwhile goes in one call.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from trio_afrender.async_helpers import wait_any
from trio_afrender.plugins.interfaces import ParserState, PluginTask
from trio_afrender.protocol.messages import TaskStatus, TaskUpdate
from trio_afrender.task.reasons import ReasonLog
from trio_afrender.task.run_folder import RunFolder
from trio_afrender.task.status_rules import StopCause, StopKind
from trio_afrender.task.task_control import TaskControl
from trio_afrender.text import shorten

__all__ = ("ProgressReader",)

CALL_INTERVAL = 0.1
"""Seconds between two calls while output keeps coming: ten updates a second are enough."""
TICK_INTERVAL = 1.0
"""Seconds without a whole line after which a parser with `wants_ticks` is called without new output."""
MAX_ACTIVITY, MAX_REPORT = 1000, 10_000
"""Characters of a parser's texts, so that an update fits into a frame."""
MAX_BYTES_PER_CALL = 8 * 1024 * 1024
"""Bytes of log in one call, so that even a slow parser answers within its time limit."""

STOP_FLAGS = (
    ("error", StopKind.PARSER_ERROR, "the parser saw an error"),
    ("fatalerror", StopKind.PARSER_FATAL_ERROR, "the parser saw a fatal error"),
    ("finishedsuccess", StopKind.PARSER_SUCCESS, "the parser saw that the work is done"),
)


class ProgressReader:
    """Feeds one run's parser, over all its processes, and keeps the parser's last state."""

    def __init__(
        self,
        plugins: PluginTask,
        run_folder: RunFolder,
        control: TaskControl,
        why: ReasonLog,
        *,
        publish: Callable[[TaskStatus], Awaitable[None]],
        resources: Callable[[], str],
        found_on_the_fly: Callable[[tuple[str, ...]], None],
    ) -> None:
        """`found_on_the_fly` is called with the files that the parser announces while it runs."""
        self.state = ParserState()
        self.flags: set[str] = set()
        """Names of the parser's flags that were ever set while the task's own process ran."""
        self.progressed = -math.inf
        """When percent or frame last changed, in trio's time."""
        self._plugins = plugins
        self._run_folder = run_folder
        self._control = control
        self._why = why
        self._publish = publish
        self._resources = resources
        self._found_on_the_fly = found_on_the_fly
        self._published: tuple[TaskStatus, ParserState] | None = None
        # Log size at the last call. It is beyond `state.consumed` by the unfinished line, which alone
        # is no reason for another call.
        self._seen = 0

    @property
    def status(self) -> TaskStatus:
        """The status of the run while it is running."""
        return TaskStatus.Warning if "warning" in self.flags else TaskStatus.Percent

    async def follow(self, pid: int, over: trio.Event) -> None:
        """Parse what comes until `over`; then return, with the rest unparsed.

        A call under way when `over` is set is finished.
        """
        log = self._run_folder.log
        interval = TICK_INTERVAL if self._plugins.facts.wants_ticks else math.inf
        tick_at = trio.current_time() + interval
        while not over.is_set():
            if log.size <= self._seen:
                with trio.move_on_at(tick_at):
                    await wait_any(over.wait, partial(log.wait_beyond, self._seen))
            if over.is_set():
                return
            consumed = self.state.consumed
            if log.size > self._seen:
                await self._parse_piece("RUN", pid)
            if self.state.consumed != consumed:
                tick_at = trio.current_time() + interval
            elif trio.current_time() >= tick_at:
                # Also while an unfinished line grows: its parts are what some parsers wait for. The
                # same offset again marks a tick (`TaskWorker.parse`).
                await self._call(self._seen, "RUN", pid)
                tick_at = trio.current_time() + interval
            if self._seen >= log.size:
                # Up to date: collect output for a moment. A reader that is behind does not wait.
                with trio.move_on_after(CALL_INTERVAL):
                    await over.wait()

    async def finish(self, mode: str, *, verdict: bool) -> None:
        """Parse all that is left, the unfinished line too, and make the last call with `mode`.

        Without `verdict` (post commands) flags that the parser sets here do not count.
        """
        log = self._run_folder.log
        before = set(self.flags)
        while self._plugins.facts.has_parser and not self._plugins.disabled_reason:
            if log.size - self.state.consumed <= MAX_BYTES_PER_CALL:
                await self._call(log.size, mode, 0)
                break
            consumed = self.state.consumed
            await self._parse_piece("RUN", 0)
            if self.state.consumed == consumed:
                # One unfinished line longer than a piece: without this the loop would not end.
                await self._call(log.size, mode, 0)
                break
        if not verdict:
            self.flags = before

    def update(
        self,
        status: TaskStatus,
        *,
        started: float | None,
        redact: Callable[[str], str],
        parsed_files: tuple[str, ...] = (),
    ) -> TaskUpdate:
        """Return the update of this moment; `redact` is applied to texts that the task printed."""
        state = self.state
        return TaskUpdate(
            run=self._control.task.run,
            **self._control.task.key._asdict(),
            status=status,
            # Any parser may be wrong about a percentage; the server expects 0 to 100.
            percent=min(max(state.percent, 0), 100),
            frame=state.frame,
            percentframe=min(max(state.percentframe, 0), 100),
            progress_changed=state.progress_changed,
            activity=redact(shorten(state.activity, MAX_ACTIVITY)),
            report=redact(shorten(state.report, MAX_REPORT)),
            resources=shorten(state.resources, MAX_REPORT),
            parsed_files=parsed_files,
            started=started,
        )

    async def _parse_piece(self, mode: str, pid: int) -> None:
        await self._call(
            min(self._run_folder.log.size, self.state.consumed + MAX_BYTES_PER_CALL), mode, pid
        )

    async def _call(self, upto: int, mode: str, pid: int) -> None:
        """Call the parser for the log up to offset `upto`; show, act on and publish what it returns."""
        self._seen = upto
        state = await self._plugins.parse(upto, mode=mode, pid=pid, resources=self._resources())
        if (state.percent, state.frame, state.percentframe) != (
            self.state.percent,
            self.state.frame,
            self.state.percentframe,
        ):
            self.progressed = trio.current_time()
        self.state = state
        self.flags.update(
            name
            for name in ("warning", "error", "badresult", "fatalerror", "finishedsuccess")
            if getattr(state, name)
        )
        await self._run_folder.view.apply(state.consumed, state.replaced)
        if state.files_onthefly:
            self._found_on_the_fly(state.files_onthefly)
        # The last call changes the outcome, which is sent next: no update, no stop.
        if mode == "RUN":
            self._stop_on_flags()
            status = self.status
            self._control.percent, self._control.activity = state.percent, state.activity
            # Only changes: most calls of a parser find nothing new.
            if (status, state) != self._published:
                self._published = (status, state)
                await self._publish(status)

    def _stop_on_flags(self) -> None:
        """Stop the run if the parser asks for that; a stop that came first keeps its cause."""
        if self._control.cause is not None:
            return
        for flag, kind, text in STOP_FLAGS:
            if flag in self.flags:
                self._why.add("rule", f"{text}: the task is stopped")
                self._control.stop(StopCause(kind=kind, text=text))
                return
